"""Bearer tokens: the file that lists them, and the check that every call must pass."""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
from grpc_health.v1 import health

from unrolled_server.call_context import TOKEN_NAME
from unrolled_server.observability.log_throttle import LogThrottle
from unrolled_server.security.credential_files import CredentialsError, ReloadingFiles, read_file

LOG = logging.getLogger(__name__)

MIN_TOKEN_LENGTH = 16
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TOKEN = re.compile(rf"[A-Za-z0-9._~+/-]{{{MIN_TOKEN_LENGTH},}}=*")  # RFC 6750's b64token
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)
# Health checks: probes cannot send tokens.
_OPEN_METHODS = f"/{health.SERVICE_NAME}/"

_Entry: TypeAlias = tuple[str, bytes]
_Metadata: TypeAlias = Iterable[tuple[str, str | bytes]]
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class TokenFile:
    """The digests of a file's tokens, reloaded when it changes.

    The file has lines NAME TOKEN. A name may have two tokens, so that an old one and a new one overlap.

    Raises:
        CredentialsError: The file cannot be read or is malformed.
    """

    def __init__(self, path: Path) -> None:
        self._file = ReloadingFiles([path], lambda: _read(path))

    def name_of(self, token: str) -> str | None:
        """Returns the token's name; None for an unknown token.

        Compares digests, always with all, so that the time it takes reveals nothing about the tokens.
        """
        digest = _digest(token)
        names = [name for name, known in self._file.content() if hmac.compare_digest(known, digest)]
        return names[0] if names else None


class TokenCheck(grpc.aio.ServerInterceptor):
    """Refuses calls without a known token with UNAUTHENTICATED, before it reads their request."""

    def __init__(self, tokens: TokenFile) -> None:
        self._tokens = tokens
        self._throttle = LogThrottle()
        self._refuse_missing = self._refusing("this server wants a token: send 'authorization: Bearer TOKEN'")
        self._refuse_unknown = self._refusing(
            "this server does not know the token; it may have been replaced"
        )

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler:
        if not handler_call_details.method.startswith(_OPEN_METHODS):
            token = _token_in(handler_call_details.invocation_metadata)
            if token is None:
                return self._refuse_missing
            name = self._tokens.name_of(token)
            if name is None:
                return self._refuse_unknown
            TOKEN_NAME.set(name)
        return await continuation(handler_call_details)

    def _refusing(self, reason: str) -> _Handler:
        async def refuse(_requests: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            peer = context.peer()
            host = peer.rpartition(":")[0] or peer  # each connection has another port
            more = self._throttle.allow(f"{host} {reason}", now_s=time.monotonic())
            if more is not None:
                LOG.warning("refused a call of %s: %s%s", peer, reason, more)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, reason)

        # A stream handler starts before any message has arrived, and can refuse calls of every kind.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _token_in(metadata: _Metadata | None) -> str | None:
    """Returns the bearer token of a call; None unless it has exactly one."""
    values = [value for key, value in metadata or () if key == "authorization"]
    found = _BEARER.fullmatch(values[0]) if len(values) == 1 and isinstance(values[0], str) else None
    return None if found is None else found[1]


def _read(path: Path) -> list[_Entry]:
    try:
        text = read_file(path, setting="tokens", is_secret=True).decode()
    except UnicodeDecodeError:
        raise CredentialsError(f"tokens {path} is not UTF-8 text") from None
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), start=1)]
    entries = [
        _entry(parts, f"tokens {path}, line {number}")
        for number, parts in lines
        if parts and not parts[0].startswith("#")
    ]
    if not entries:
        raise CredentialsError(f"tokens {path} lists no token; write lines NAME TOKEN")
    if len({digest for _, digest in entries}) < len(entries):
        raise CredentialsError(f"tokens {path} has one token twice; give each caller a token of its own")
    return entries


def _entry(parts: list[str], name: str) -> _Entry:
    if len(parts) != 2:  # noqa: PLR2004 - a name and a token
        raise CredentialsError(f"{name}: has {len(parts)} words; write NAME TOKEN")
    if not _NAME.fullmatch(parts[0]):
        # The message leaves it out, because it may be the token.
        raise CredentialsError(f"{name}: the name is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'")
    if not _TOKEN.fullmatch(parts[1]):
        raise CredentialsError(
            f"{name}: the token has {len(parts[1])} characters; it must be at least {MIN_TOKEN_LENGTH} of "
            "A-Z, a-z, 0-9, '.', '_', '~', '+', '/' and '-' (openssl rand -hex 32 makes one)"
        )
    return parts[0], _digest(parts[1])


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
