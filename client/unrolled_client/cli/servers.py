"""How every command comes by a server, and tells that it failed.

A file of its own because the commands share it.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import typer
from rich.console import Console

from unrolled_client import UnrolledError
from unrolled_client._channel import Access
from unrolled_client.cli.options import NetworkFlags, ServerFlags

_START_TIMEOUT_S = 60.0
_CONVERSION_TIMEOUT_S = 900.0  # gigabytes of vectors are read and written once, before the server is ready
_PROGRESS = Console(stderr=True)


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turns a failure into one line and an exit code."""
    try:
        yield
    except (UnrolledError, OSError) as error:
        typer.echo(f"unrolled: {error}", err=True)
        raise typer.Exit(1) from None


@contextlib.contextmanager
def target_of(server: ServerFlags, network: NetworkFlags | None = None) -> Iterator[str]:
    """The server that is asked for, or a local one, which has the network's vectors and ends with the block.

    Raises:
        typer.BadParameter: A running server is to load vectors.
        LocalServerError: The local one did not start.
    """
    vectors = network.vectors if network is not None and network.has_vector_file else None
    if server.target is None:
        with _local(vectors) as target:
            yield target
    elif vectors is None:
        yield server.target
    else:
        raise typer.BadParameter(
            f"--vectors {vectors} is for a local server, but --target or UNROLLED_TARGET asks "
            f"{server.target}: give --vectors {vectors.partition('=')[0]}, and start that server with "
            f"--vectors {vectors}"
        )


def access_of(server: ServerFlags) -> Access:
    """What the client trusts and shows, read from the files that the options name. A local server wants none.

    Raises:
        typer.BadParameter: A file cannot be read, or there is no running server to ask.
    """
    files = {
        "--root-certificates": server.root_certificates,
        "--certificate": server.certificate,
        "--key": server.key,
        "--token-file": server.token_file,
    }
    given = [option for option, value in {"--spread": server.spread, **files}.items() if value is not None]
    if server.target is None:
        if given:
            raise typer.BadParameter(f"{', '.join(given)}: for a running server; name it by --target")
        return {}
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
def _local(vectors: str | None) -> Iterator[str]:
    from unrolled_client.local import LocalServer  # noqa: PLC0415 - most commands ask a running server

    settings: dict[str, object] = {} if vectors is None else {"vectors": vectors}
    waiting = (
        _PROGRESS.status("Starting a local server (--target asks a running one)")
        if _PROGRESS.is_terminal
        else contextlib.nullcontext()
    )
    timeout_s = _START_TIMEOUT_S if vectors is None else _CONVERSION_TIMEOUT_S
    with waiting:
        server = LocalServer(start_timeout_s=timeout_s, **settings)
    with contextlib.closing(server):
        yield server.target
