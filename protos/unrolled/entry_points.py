"""The entry points of the commands `unrolled`, `unrolled-load`, `unrolled-map` and `unrolled-server`.

They load the packages above this one by name, after a check that an extra's own dependencies are installed.
"""

import codecs
import importlib.util
import io
import os
import sys
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

_CLI = ("rich", "typer")
_SERVER = (
    "cryptography",
    "grpc_health",
    "grpc_reflection",
    "h2",
    "jaxtyping",
    "prometheus_client",
    "pydantic_settings",
    "scipy",
    "structlog",
    "torch",
)
EXTRAS = {
    "cli": _CLI,
    "load": ("hdrh", "jinja2", "matplotlib", *_CLI),
    "plot": ("matplotlib",),
    "server": _SERVER,
    "ray": ("pyarrow", "ray", *_CLI, *_SERVER),
}
"""The modules that each extra of the distribution installs."""

_EXIT_USAGE = 2
_ESCAPE = "unrolled.escape"
# What the commands draw with, in one column of ASCII each.
_ASCII = dict(zip("…␣·µ▁▂▃▄▅▆▇█", "~_-u.:-=+*#@", strict=True))


def run_client() -> NoReturn:
    """Runs `unrolled`, also `python -m unrolled_client`."""
    _run("unrolled", module="unrolled_client.cli", extra="cli")


def run_load() -> NoReturn:
    """Runs `unrolled-load`, also `python -m unrolled_loadtest`."""
    _run("unrolled-load", module="unrolled_loadtest.cli", extra="load")


def run_server() -> NoReturn:
    """Runs `unrolled-server`, also `python -m unrolled_server`."""
    _run("unrolled-server", module="unrolled_server.__main__", extra="server")


def run_map() -> NoReturn:
    """Runs `unrolled-map`, also `python -m unrolled_corpus`."""
    _run("unrolled-map", module="unrolled_corpus.cli", extra="ray")


def describe_missing(extra: str) -> str:
    """Returns which packages of an extra are not installed and how to install them; "" if all are."""
    missing = [name for name in EXTRAS[extra] if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"needs packages that are not installed ({', '.join(missing)}): pip install 'unrolled[{extra}]'"


def escape_output() -> None:
    """Makes standard output and error take any text; what their encoding lacks is escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not if it is closed or replaced
            stream.reconfigure(errors=_ESCAPE)


def _run(command: str, *, module: str, extra: str) -> NoReturn:
    escape_output()
    try:
        raise SystemExit(_exit_code(command, module=module, extra=extra))
    except BrokenPipeError:
        # The reader of standard output has left. What is left in its buffer can't be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _exit_code(command: str, *, module: str, extra: str) -> int | None:
    if sys.argv[1:] == ["--version"]:
        print(command, version("unrolled"), flush=True)  # noqa: T201
        return None
    if missing := describe_missing(extra):
        print(command, missing, file=sys.stderr)  # noqa: T201
        return _EXIT_USAGE
    code: int | None = import_module(module).main()
    return code


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Replaces what an encoding lacks; an error handler of `codecs`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(symbol) or ascii(symbol)[1:-1] for symbol in lacking), error.end


codecs.register_error(_ESCAPE, _escape)
