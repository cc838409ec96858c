"""The server that a command calls, the credentials for it, and how a command reports errors."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from unrolled_client import UnrolledError
from unrolled_client._transport.endpoint import Access
from unrolled_client._transport.target import TARGET_VARIABLE, resolve_target
from unrolled_client.cli.options import NetworkFlags, ServerFlags
from unrolled_client.local_server import LocalServer

_START_TIMEOUT_S = 60.0
_CONVERSION_TIMEOUT_S = 900.0  # gigabytes of vectors are read and written once, before the server is ready
_CONNECT_TIMEOUT_S = 2.0


@contextlib.contextmanager
def exit_on_failure(command: str = "unrolled") -> Iterator[None]:
    """Turns errors of the SDK and of the system into one line on standard error and exit code 1."""
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of standard output has closed the pipe; the entry point exits silently
    except (UnrolledError, OSError) as error:
        report(str(error), command=command)
        raise typer.Exit(1) from None


def report(message: str, *, command: str = "unrolled") -> None:
    """Prints a line on standard error, after the name of the running command."""
    if sys.stderr is not None:  # None if it is closed
        print(f"{command}: {message}", file=sys.stderr, flush=True)  # noqa: T201


@contextlib.contextmanager
def choose_target(
    server: ServerFlags, network: NetworkFlags | None = None, *, command: str = "unrolled"
) -> Iterator[str]:
    """Yields the server to call: the one that the options name, else localhost:50051, else a private one.

    A private server starts if nothing answers on the default address, or if it has to load word vectors from
    a file. It stops when the block ends.
    """
    given = _options_of_a_running_server(server)
    vectors = network.vectors if network is not None and network.has_vector_file else None
    if vectors is not None and given:
        options = ", ".join(f"{flag} {value}" for flag, value in given.items())
        raise typer.BadParameter(
            f"--vectors {vectors} starts a private server that loads the file, but {options} asks a running "
            f"one: give --vectors {vectors.partition('=')[0]}, and start that server with --vectors {vectors}"
        )
    is_from_environment = server.target == os.environ.get(TARGET_VARIABLE)
    target = resolve_target(server.target, name=TARGET_VARIABLE if is_from_environment else "--target")
    if vectors is not None:
        report(f"starting a private server with --vectors {vectors}", command=command)
        private = LocalServer(start_timeout_s=_CONVERSION_TIMEOUT_S, vectors=vectors)
    elif not given and not _accepts_connections(target):
        report(f"nothing answers on {target}; starting a private server", command=command)
        private = LocalServer(start_timeout_s=_START_TIMEOUT_S)
    else:
        yield target
        return
    with contextlib.closing(private):
        yield private.target


def _options_of_a_running_server(server: ServerFlags) -> dict[str, object]:
    """Returns the options, given on the command line or in the environment, that a private server ignores."""
    flags = {
        "--target": server.target,
        "--spread": server.spread,
        "--root-certificates": server.root_certificates,
        "--certificate": server.certificate,
        "--key": server.key,
        "--token-file": server.token_file,
    }
    return {flag: value for flag, value in flags.items() if value is not None}


def _accepts_connections(target: str) -> bool:
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def read_access(server: ServerFlags) -> Access:
    """Returns the credentials of the client, read from the files that the options name."""
    roots = server.root_certificates
    return {
        "root_certificates": "default" if roots == "default" else _read(roots, "--root-certificates"),
        "certificate_chain": _read(server.certificate, "--certificate"),
        "private_key": _read(server.key, "--key"),
        "token": _read_token(server.token_file),
    }


def _read(file: str | Path | None, option: str) -> bytes | None:
    if file is None:
        return None
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{option} {file} cannot be read: {error.strerror}") from None


def _read_token(file: Path | None) -> str | None:
    # Never on the command line, which every user of the machine can read.
    if file is None:
        return os.environ.get("UNROLLED_TOKEN") or None
    token = (_read(file, "--token-file") or b"").decode(errors="replace").strip()
    if not token:
        raise typer.BadParameter(f"--token-file {file} is empty")
    return token
