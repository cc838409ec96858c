"""The synchronous client: build, call, decode."""

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeAlias

import grpc

from unrolled_client._channel import (
    DEFAULT,
    DEFAULT_TARGET,
    DEFAULT_TIMEOUT_S,
    FORWARD,
    GET_SERVER_INFO,
    ChannelOptions,
    Timeout,
    open_channel,
    resolve_timeout_s,
)
from unrolled_client._codec import (
    SERVER_INFO_REQUEST,
    decode_reply,
    decode_server_info,
    encode_request,
)
from unrolled_client.errors import ClosedError, error_from_call
from unrolled_client.result import Layout, Result, ServerInfo

if TYPE_CHECKING:
    from unrolled_client.local import LocalServer

_Method: TypeAlias = "grpc.UnaryUnaryMultiCallable[bytes, bytes]"


class Client:
    """Calls an Unrolled server. One client serves any number of threads.

    It connects when it is first used, and again after a lost connection; calls that find no server are tried
    for about 1.5 s before they fail.

    Every method that calls the server raises:
        InvalidRequestError, UnsupportedError, AuthenticationError: The request will not be answered.
        OverloadedError, UnavailableError, DeadlineError, CallCancelledError: Not now; see `is_retryable`.
        ServerError, ProtocolError: The server's fault.
        ClosedError: The client was closed, before the call or during it.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions = (),
    ) -> None:
        """Takes an address; nothing is sent yet.

        Args:
            target: HOST:PORT, unix:PATH or another name that gRPC resolves.
            timeout_s: Seconds that a call may take if it does not say itself; None for no end.
            options: gRPC channel arguments; they override this package's own.

        Raises:
            InvalidRequestError: `timeout_s` is not above 0.
        """
        self._target = target
        self._timeout_s = resolve_timeout_s(timeout_s, default_s=None)
        self._channel = open_channel(target, options=options)
        self._forward: _Method = self._channel.unary_unary(FORWARD)
        self._get_server_info: _Method = self._channel.unary_unary(GET_SERVER_INFO)
        self._is_closed = False
        self._local_server: LocalServer | None = None

    @classmethod
    def local(
        cls,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions = (),
        start_timeout_s: float = 60.0,
        **server_settings: object,
    ) -> Self:
        """A client with a server of its own: a child process on a private Unix socket, ended by `close`.

        Args:
            timeout_s: As for `Client`.
            options: As for `Client`.
            start_timeout_s: Seconds that the server may take to be ready; it loads torch.
            **server_settings: The server's settings by the names of its flags, such as `max_words=100`.

        Raises:
            ServerExtraMissingError: The server's packages are not installed.
            LocalServerError: The server did not start; the message says what it wrote.
        """
        # What a child process takes is a sixth of this package's import time.
        from unrolled_client.local import LocalServer  # noqa: PLC0415

        server = LocalServer(start_timeout_s=start_timeout_s, **server_settings)
        client = cls(server.target, timeout_s=timeout_s, options=options)
        client._local_server = server
        return client

    def forward(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_size: int,
        seed: int = 0,
        alphabet: str | None = None,
        layout: Layout = "batch_first",
        timeout_s: Timeout = DEFAULT,
    ) -> Result:
        """Runs words through the network that `torch.manual_seed(seed)` would have drawn.

        Args:
            words: One or more words of one or more symbols (Unicode code points, never normalised).
            hidden_size: Units of the hidden state.
            seed: As for `torch.manual_seed`, any int64. Torch uses its low 32 bits.
            alphabet: The symbols in one-hot order. None derives it from the words by first appearance, so
                that a word's network depends on its neighbours: give it to compare across calls.
            layout: "batch_first" runs along each word; "seq_first" along the list of words, as torch's
                default layout would, and needs words of one length.
            timeout_s: Seconds that this call may take; None for no end. Default: the client's.

        Returns:
            The states of every word at every symbol, (batch, seq, hidden), and what belongs to them.

        Raises:
            TypeError: `words` is one str, or not all of them are str, or a number is not an integer.
            UnrolledError: See the class.
        """
        request = encode_request(words, hidden_size=hidden_size, seed=seed, alphabet=alphabet, layout=layout)
        return decode_reply(self._call(self._forward, request.data, timeout_s=timeout_s), request)

    def server_info(self, *, timeout_s: Timeout = DEFAULT) -> ServerInfo:
        """What answers: device, limits, versions, fingerprint.

        Raises:
            UnrolledError: See the class.
        """
        return decode_server_info(self._call(self._get_server_info, SERVER_INFO_REQUEST, timeout_s=timeout_s))

    def close(self) -> None:
        """Ends the connection and, after `local`, the server. Calls that wait raise ClosedError."""
        self._is_closed = True
        self._channel.close()
        if self._local_server is not None:
            self._local_server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self._target!r}{', closed' if self._is_closed else ''})"

    def _call(self, method: _Method, data: bytes, *, timeout_s: Timeout) -> bytes:
        try:
            return method(data, timeout=resolve_timeout_s(timeout_s, default_s=self._timeout_s))
        except grpc.RpcError as error:
            if self._is_closed:
                raise self._closed() from None
            raise error_from_call(error, target=self._target) from None
        except ValueError:
            if self._is_closed:  # gRPC's word for it
                raise self._closed() from None
            raise

    def _closed(self) -> ClosedError:
        return ClosedError(f"the client of {self._target} is closed; make another")
