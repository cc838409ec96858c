"""The server that a command asks, and how a command reports failures."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import typer

from unrolled_client import UnrolledError
from unrolled_client._transport.endpoint import Access
from unrolled_client._transport.target import TARGET_VARIABLE, resolve_target
from unrolled_client.cli.options import NetworkFlags, ServerFlags

_START_TIMEOUT_S = 60.0
_CONVERSION_TIMEOUT_S = 900.0  # gigabytes of vectors are read and written once, before the server is ready
_CONNECT_TIMEOUT_S = 2.0


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turns a failure into one line and an exit code."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of standard output has left, and typer ends the command silently
    except (UnrolledError, OSError) as error:
        report(str(error))
        raise typer.Exit(1) from None


def report(message: str) -> None:
    """Prints a line on standard error."""
    if sys.stderr is not None:  # None if it is closed
        print(f"unrolled: {message}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def target_of(server: ServerFlags, network: NetworkFlags | None = None) -> Iterator[str]:
    """Gives the server to ask: the one that is named, else localhost:50051, else a private one.

    A private one runs if nothing answers on the default address, or to load the network's file of vectors. It
    ends with the block.

    Raises:
        typer.BadParameter: A running server cannot load vectors.
        LocalServerError: The private one did not start.
    """
    named = _naming_flags(server)
    vectors = network.vectors if network is not None and network.has_vector_file else None
    if vectors is not None and named:
        raise _vectors_error(vectors, named)
    is_from_environment = server.target == os.environ.get(TARGET_VARIABLE)
    target = resolve_target(server.target, name=TARGET_VARIABLE if is_from_environment else "--target")
    chosen: AbstractContextManager[str] = contextlib.nullcontext(target)
    if vectors is not None:
        chosen = _private_server(f"starting a private server with --vectors {vectors}", vectors=vectors)
    elif not named and not _listens(target):
        chosen = _private_server(f"nothing answers on {target}; starting a private server")
    with chosen as target:
        yield target


def _naming_flags(server: ServerFlags) -> dict[str, object]:
    """Returns the options that are given and mean a running server; each may stand in the environment."""
    flags = {
        "--target": server.target,
        "--spread": server.spread,
        "--root-certificates": server.root_certificates,
        "--certificate": server.certificate,
        "--key": server.key,
        "--token-file": server.token_file,
    }
    return {flag: value for flag, value in flags.items() if value is not None}


def _vectors_error(vectors: str, named: dict[str, object]) -> typer.BadParameter:
    given = ", ".join(f"{flag} {value}" for flag, value in named.items())
    return typer.BadParameter(
        f"--vectors {vectors} starts a private server that loads the file, but {given} asks a running one: "
        f"give --vectors {vectors.partition('=')[0]}, and start that server with --vectors {vectors}"
    )


def _listens(target: str) -> bool:
    """Returns whether HOST:PORT takes connections at any address of the host."""
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def access_of(server: ServerFlags) -> Access:
    """Returns what the client trusts and sends, read from the files that the options name.

    Raises:
        typer.BadParameter: A file cannot be read.
    """
    roots = server.root_certificates
    return {
        "root_certificates": "default" if roots == "default" else _content(roots, "--root-certificates"),
        "certificate_chain": _content(server.certificate, "--certificate"),
        "private_key": _content(server.key, "--key"),
        "token": _token(server.token_file),
    }


def _content(file: str | Path | None, option: str) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{option} {file} cannot be read: {error.strerror}") from None


def _token(file: Path | None) -> str | None:
    """The token in the file, else in the environment; never on the command line, which everybody can read."""
    if file is None:
        return os.environ.get("UNROLLED_TOKEN") or None
    token = (_content(file, "--token-file") or b"").decode(errors="replace").strip()
    if not token:
        raise typer.BadParameter(f"--token-file {file} is empty")
    return token


@contextlib.contextmanager
def _private_server(notice: str, **settings: object) -> Iterator[str]:
    """Gives the target of a new server, after a line that says why it is started."""
    from unrolled_client.local_server import LocalServer  # noqa: PLC0415 - most commands ask a running server

    report(notice)
    timeout_s = _CONVERSION_TIMEOUT_S if "vectors" in settings else _START_TIMEOUT_S
    with contextlib.closing(LocalServer(start_timeout_s=timeout_s, **settings)) as server:
        yield server.target
