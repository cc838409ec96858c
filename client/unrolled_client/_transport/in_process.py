"""The service in this process, which a client of `local` asks instead of a server."""

import threading
from typing import Any, Protocol, cast

from numpy.typing import NDArray
from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import decode_server_info
from unrolled_client._messages.request import EncodedRequest
from unrolled_client._transport.fork_safety import register
from unrolled_client.errors import ClosedError, InvalidRequestError, LocalError, LocalExtraMissingError
from unrolled_client.results import ServerInfo


class _Service(Protocol):
    """unrolled_server.in_process.InProcessService."""

    def server_info(self) -> bytes: ...

    def forward(self, data: bytes, *, timeout_s: float | None, out: NDArray[Any] | None) -> SplitReply: ...

    async def forward_async(
        self, data: bytes, *, timeout_s: float | None, out: NDArray[Any] | None
    ) -> SplitReply: ...

    def close(self) -> None: ...


class InProcess:
    """Owns the service of one client. Thread-safe; a forked child starts a service of its own when asked."""

    def __init__(self, settings: dict[str, Any]) -> None:
        """Starts the service; see `Client.local`."""
        self.settings = settings
        self._lock = threading.Lock()
        self._service: _Service | None = _start(settings)
        self._is_closed = False
        register(self)

    def close(self) -> None:
        """Stops the running call, and frees memory and threads; a second call does nothing."""
        self._is_closed = True
        if self._service is not None:
            self._service.close()

    def answer(self, request: EncodedRequest, *, timeout_s: float | None) -> SplitReply:
        """Returns the reply to a request, which may have an error."""
        service = self._service or self._start_again()
        reply = service.forward(request.data, timeout_s=timeout_s, out=request.out)
        return _refuse_closed(reply) if self._is_closed else reply

    async def answer_async(self, request: EncodedRequest, *, timeout_s: float | None) -> SplitReply:
        """Returns the reply to a request, as `answer` does; large ones are computed beside the event loop."""
        service = self._service or self._start_again()
        reply = await service.forward_async(request.data, timeout_s=timeout_s, out=request.out)
        return _refuse_closed(reply) if self._is_closed else reply

    def server_info(self) -> ServerInfo:
        """Returns what a server with the same settings would."""
        if self._is_closed:
            raise _closed()
        service = self._service or self._start_again()
        return decode_server_info(service.server_info())

    def before_fork(self) -> bool:
        return False  # a running call goes on in the parent

    def after_fork_in_child(self) -> object:
        """Forgets the service, which a thread that does not exist here may be changing; see `register`."""
        service, self._service = self._service, None
        self._lock = threading.Lock()
        return service

    def _start_again(self) -> _Service:
        """Returns the service of a forked child, which its first call starts."""
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._service = self._service or _start(self.settings)
            return self._service


def _refuse_closed(reply: SplitReply) -> SplitReply:
    """Raises ClosedError for a call that `close` stopped."""
    if reply.rest.HasField("error"):
        raise _closed()
    return reply


def _closed() -> ClosedError:
    return ClosedError("the client is closed; make another")


def _start(settings: dict[str, Any]) -> _Service:
    from unrolled.entry_points import load_in_process  # noqa: PLC0415 - it loads importlib.metadata

    try:
        module = load_in_process()
    except ModuleNotFoundError as error:
        raise LocalExtraMissingError(str(error)) from None
    try:
        return cast("_Service", module.InProcessService(**settings))
    except ValueError as error:
        raise InvalidRequestError(str(error)) from None
    except module.StartupError as error:
        raise LocalError(str(error)) from None
