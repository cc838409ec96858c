"""The client of a command, its credentials, and how a command reports errors."""

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import typer

from unrolled_client import Client, UnrolledError
from unrolled_client._transport.endpoint import Access
from unrolled_client._transport.target import TARGET_VARIABLE, resolve_target
from unrolled_client.cli.options import NetworkFlags, ServerFlags

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


def open_client(server: ServerFlags, network: NetworkFlags | None = None) -> Client:
    """Returns a client of the server that the options name, else of localhost:50051, else of this process.

    A command computes in its own process if nothing answers on the default address, or to read word vectors
    from a file.
    """
    given = _options_of_a_server(server)
    vectors = network.vectors if network is not None and network.has_vector_file else None
    if vectors is not None:
        if given:
            options = ", ".join(f"{flag} {value}" for flag, value in given.items())
            raise typer.BadParameter(
                f"--vectors {vectors} reads the file in this process, but {options} asks a server: give "
                f"--vectors {vectors.partition('=')[0]}, and start that server with --vectors {vectors}"
            )
        return Client.local(timeout_s=server.timeout_s, vectors=vectors)
    target = target_of(server)
    if not given and not _accepts_connections(target):
        report(f"nothing answers on {target}; computing in this process")
        return Client.local(timeout_s=server.timeout_s)
    return Client(target, timeout_s=server.timeout_s, spread=server.spread, **read_access(server))


def target_of(server: ServerFlags) -> str:
    """Returns the address of the server that the options name; the default is localhost:50051."""
    is_from_environment = server.target == os.environ.get(TARGET_VARIABLE)
    return resolve_target(server.target, name=TARGET_VARIABLE if is_from_environment else "--target")


def _options_of_a_server(server: ServerFlags) -> dict[str, object]:
    """Returns the options, given on the command line or in the environment, that only a server can heed."""
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
