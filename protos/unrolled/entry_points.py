"""The entry points of the commands, and of the module that computes in the caller's process.

They import the packages above this one by name, once the dependencies of their extra are there.
"""

import codecs
import contextlib
import errno
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import NoReturn

_CLI = ("rich", "typer")
_LOCAL = ("filelock", "unrolled_core")
_SERVER = (
    "cryptography",
    "grpc_health",
    "grpc_reflection",
    "h2",
    "prometheus_client",
    "pydantic_settings",
    "structlog",
    "torch",
    *_LOCAL,
)
EXTRAS = {
    "cli": _CLI,
    "load": ("hdrh", "jinja2", "matplotlib", *_CLI),
    "local": _LOCAL,
    "plot": ("matplotlib",),
    "server": _SERVER,
    "ray": ("pyarrow", "ray", *_CLI, *_SERVER),
    "sklearn": ("sklearn", *_LOCAL),
}
"""The modules that each extra of the distribution installs."""

_EXIT_OUTPUT = 1
_EXIT_USAGE = 2
_FULL = {errno.EDQUOT, errno.EFBIG, errno.ENOSPC}
_ESCAPE = "unrolled.escape"
# The symbols of the commands' drawings, each as one ASCII character.
_ASCII = dict(zip("…␣·µ▁▂▃▄▅▆▇█", "~_-u.:-=+*#@", strict=True))


def run_client() -> NoReturn:
    """Runs `unrolled`, as does `python -m unrolled_client`."""
    _run("unrolled", module="unrolled_client.cli", extra="cli")


def run_load() -> NoReturn:
    """Runs `unrolled-load`, as does `python -m unrolled_loadtest`."""
    _run("unrolled-load", module="unrolled_loadtest.cli", extra="load")


def run_server() -> NoReturn:
    """Runs `unrolled-server`, as does `python -m unrolled_server`."""
    _run("unrolled-server", module="unrolled_server.__main__", extra="server")


def run_map() -> NoReturn:
    """Runs `unrolled-map`, as does `python -m unrolled_corpus`."""
    _run("unrolled-map", module="unrolled_corpus.cli", extra="ray")


def load_in_process() -> ModuleType:
    """Returns the module that computes in the caller's process.

    Raises:
        ModuleNotFoundError: Its extra is not installed; the message says how to install it.
    """
    if missing := describe_missing("local"):
        raise ModuleNotFoundError(f"computing in this process {missing}")
    return import_module("unrolled_server.in_process")


def describe_missing(extra: str) -> str:
    """Returns which packages of an extra are not installed and how to install them; "" if all are."""
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"needs packages that are not installed ({', '.join(missing)}): pip install 'unrolled[{extra}]'"


def _run(command: str, *, module: str, extra: str) -> NoReturn:
    escape_output()
    with _exiting_on_output_error(command):
        code = _exit_code(command, module=module, extra=extra)
    raise SystemExit(code)


def _exit_code(command: str, *, module: str, extra: str) -> int | None:
    if sys.argv[1:] == ["--version"]:
        print(command, version("unrolled"))  # noqa: T201
        return None
    if missing := describe_missing(extra):
        _print_error(f"{command} {missing}")
        return _EXIT_USAGE
    code: int | None = import_module(module).main()
    return code


@contextlib.contextmanager
def _exiting_on_output_error(command: str) -> Iterator[None]:
    """Exits with code 1 if the block, or flushing afterwards, fails to write standard output.

    A reader that has closed the pipe, such as `head`, gets no message.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None and not sys.stdout.closed:
                sys.stdout.flush()
    except OSError as error:
        if sys.stdout is None or error.errno not in {*_FULL, errno.EPIPE}:
            raise
        if error.errno != errno.EPIPE:
            _print_error(f"{command}: standard output cannot be written: {error.strerror}")
        # Python flushes the buffer again at exit, which would fail as well.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(_EXIT_OUTPUT) from None


def _print_error(message: str) -> None:
    if sys.stderr is not None:  # None if it is closed
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)  # noqa: T201


def escape_output() -> None:
    """Makes standard output and error escape what their encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if it is closed or replaced
            stream.reconfigure(errors=_ESCAPE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Replaces symbols that an encoding lacks; an error handler for `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(symbol) or ascii(symbol)[1:-1] for symbol in lacking), error.end


codecs.register_error(_ESCAPE, _escape)
