"""The asynchronous client: build, call, decode, as the synchronous one."""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast

import grpc
import grpc.aio

from unrolled_client._coalescing import is_mergeable
from unrolled_client._messages.arguments import as_bool
from unrolled_client._messages.decoding import decode_reply, decode_server_info
from unrolled_client._messages.encoding import (
    SERVER_INFO_REQUEST,
    EncodedRequest,
    Request,
    check_request,
    refuse_surrogates,
)
from unrolled_client._streaming.aio_driver import Source, drive
from unrolled_client._streaming.calls import (
    exchange_for_map,
    exchange_for_parts,
    exchange_for_sweep,
    is_raising,
)
from unrolled_client._streaming.driver import FORWARD_STREAM
from unrolled_client._streaming.exchange import Exchange
from unrolled_client._streaming.progress import progress_bar
from unrolled_client._streaming.sizing import DEFAULT_MAX_IN_FLIGHT, encode_whole, is_bulk, may_be_bulk
from unrolled_client._transport.aio_connection import Wire
from unrolled_client._transport.endpoint import (
    DEFAULT_TIMEOUT_S,
    FORWARD,
    GET_SERVER_INFO,
    ChannelOptions,
    RootCertificates,
    resolve_timeout_s,
)
from unrolled_client._transport.fork_safety import forget_in_children
from unrolled_client._transport.load_balancing import Spread
from unrolled_client._transport.pickling import CopiedByArguments
from unrolled_client._transport.target import NOT_GIVEN, Target
from unrolled_client.errors import (
    CallCancelledError,
    UnavailableError,
)
from unrolled_client.network import NetworkOptions
from unrolled_client.results import Layout, Limits, Outcome, Result, ServerInfo, StateLike
from unrolled_client.session import AsyncSession


class AsyncClient(CopiedByArguments):
    """Calls an Unrolled server from coroutines, with the methods and results of `Client`.

    One client serves any number of coroutines and event loops; each loop gets connections of its own. Calls
    that wait for the wire and ask for the same network over the same alphabet travel together, each with its
    own answer, error, deadline and cancellation, and with the same bits as alone.

    Every method that calls the server raises what `Client`'s methods raise. Cancelling a call ends that call
    and no other.
    """

    def __init__(  # noqa: PLR0913 - everything by name
        self,
        target: Target = NOT_GIVEN,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions | None = (),
        merge: bool | None = True,
        root_certificates: RootCertificates | None = None,
        private_key: bytes | None = None,
        certificate_chain: bytes | None = None,
        token: str | None = None,
        channels: int | None = 1,
        spread: Spread | None = None,
        tracing: bool | None = False,
    ) -> None:
        """Takes an address; needs no running loop, and nothing is sent yet.

        Arguments are those of `Client`, and `merge`: whether small calls that wait share requests. `channels`
        are for each event loop. With `tracing` a request that several calls share has one span, a child of
        the first caller's, with links to the others'.

        Raises:
            TypeError, InvalidRequestError: As for `Client`.
        """
        self._merge = merge is None or as_bool("merge", merge)
        super().__init__(
            target,
            timeout_s=timeout_s,
            options=options,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            token=token,
            channels=channels,
            spread=spread,
            tracing=tracing,
        )
        self._endpoint.tracing()  # says now what is missing
        self._wires: dict[asyncio.AbstractEventLoop, Wire] = {}
        self._is_stranded = False
        forget_in_children(self)

    @classmethod
    def local(
        cls,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions | None = (),
        merge: bool | None = True,
        start_timeout_s: float | None = 60.0,
        **server_settings: object,
    ) -> Self:
        """A client with a server of its own, as `Client.local`; it blocks until the server is ready."""
        return cls._with_local_server(
            start_timeout_s=start_timeout_s,
            settings=server_settings,
            timeout_s=timeout_s,
            options=options,
            merge=merge,
        )

    async def forward(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_size: int,
        seed: int | None = 0,
        alphabet: str | None = None,
        layout: Layout | None = "batch_first",
        initial_state: StateLike | None = None,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Result:
        """Runs words through a network; see `Client.forward`.

        Raises:
            TypeError: There is no such argument, or one has the wrong type.
            UnrolledError: See the class.
        """
        request = check_request(
            words,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=network,
            initial_state=initial_state,
            call=AsyncClient.forward,
        )
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        if self._merge and is_mergeable(request):
            refuse_surrogates(request.words, request.alphabet)
            return await self._wire().merger.ask(request, timeout_s=limit_s)
        if may_be_bulk(request) and is_bulk(request, limits := await self._known_limits(limit_s)):
            return await self._forward_in_parts(request, limits=limits, limit_s=limit_s)
        encoded = encode_whole(request)
        return decode_reply(await self._send(encoded, limit_s), encoded)

    async def map(  # noqa: PLR0913 - the request's fields by name
        self,
        batches: Iterable[Iterable[str]] | AsyncIterable[Iterable[str]],
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        layout: Layout | None = "batch_first",
        ordered: bool | None = True,
        on_error: Literal["raise", "return"] | None = "raise",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> AsyncGenerator[Outcome, None]:
        """Runs many batches of words over one stream, with bounded work in flight; see `Client.map`.

        Batches are taken on the event loop, so an iterator that blocks blocks the loop; an asynchronous
        iterable does not, and results are handed out while it makes the next batch. Leave it early with
        `contextlib.aclosing`, which cancels what is on its way.

        Raises:
            TypeError: There is no such argument, or one has the wrong type.
            InvalidRequestError: No alphabet, a `max_in_flight` below 1, or a timeout that is not above 0.
            UnrolledError: See the class; of a single batch only with on_error="raise".
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = exchange_for_map(
            Source(batches) if isinstance(batches, AsyncIterable) else batches,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=network,
            is_ordered=ordered,
            max_in_flight=max_in_flight,
            limits=self._limits_at_hand,
            call=AsyncClient.map,
        )
        stops_at_errors = is_raising(on_error)
        has_bar = as_bool("progress", progress, default=False)
        await self._known_limits(limit_s)
        with progress_bar(batches, is_wanted=has_bar) as advance:
            async with aclosing(self._drive(exchange, timeout_s=limit_s)) as outcomes:
                async for outcome in outcomes:
                    if stops_at_errors and outcome.error is not None:
                        raise outcome.error
                    advance()
                    yield outcome

    async def sweep(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_sizes: Iterable[int],
        seeds: Iterable[int],
        alphabet: str | None = None,
        layout: Layout | None = "batch_first",
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> AsyncGenerator[Result, None]:
        """Runs the same words through many networks over one stream; see `Client.sweep`.

        Raises:
            TypeError: An argument has the wrong type.
            UnrolledError: See the class.
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = exchange_for_sweep(
            words,
            hidden_sizes=hidden_sizes,
            seeds=seeds,
            alphabet=alphabet,
            layout=layout,
            options=network,
            max_in_flight=max_in_flight,
            limits=self._limits_at_hand,
            call=AsyncClient.sweep,
        )
        await self._known_limits(limit_s)
        async with aclosing(self._drive(exchange, timeout_s=limit_s)) as outcomes:
            async for outcome in outcomes:
                yield outcome.result

    def session(  # noqa: PLR0913 - the request's fields by name
        self,
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        state: StateLike | None = None,
        layout: Layout | None = "batch_first",
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> AsyncSession:
        """Feeds long texts piece by piece; see `Client.session`. It waits for nothing itself.

        Raises:
            TypeError: There is no such option, or an argument has the wrong type.
            InvalidRequestError: No alphabet, what needs the whole text, or a state of another shape.
        """
        return AsyncSession(
            self.forward,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            state=state,
            layout=layout,
            timeout_s=timeout_s,
            options=network,
            call=AsyncClient.session,
        )

    async def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """What answers: device, limits, versions, fingerprint.

        Raises:
            UnrolledError: See the class.
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        return decode_server_info(await self._call(GET_SERVER_INFO, SERVER_INFO_REQUEST, limit_s=limit_s))

    async def close(self) -> None:
        """Ends the connections and, after `local`, the server. Calls that wait raise ClosedError."""
        self._is_closed = True
        wires, self._wires = self._wires, {}
        for loop, wire in wires.items():
            if loop is asyncio.get_running_loop():
                await wire.close(self._closed())
            elif loop.is_running():  # a loop that stands still has nobody who waits
                asyncio.run_coroutine_threadsafe(wire.close(self._closed()), loop)
        if self._local_server is not None:
            await asyncio.to_thread(self._local_server.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def drop_unused(self) -> bool:
        """Closes the channels of ended loops, with which gRPC ends its thread; not for users."""
        used = {loop: wire for loop, wire in self._wires.items() if not loop.is_closed()}
        unused_count = len(self._wires) - len(used)
        self._wires = used
        return unused_count > 0

    def forget(self) -> object:
        """Starts anew in a forked child; not for users."""
        wires, self._wires = self._wires, {}
        self._is_stranded = bool(wires)
        return wires

    def _arguments(self) -> dict[str, Any]:
        return {"merge": self._merge, **super()._arguments()}

    def _wire(self) -> Wire:
        """What belongs to the running loop."""
        if self._is_closed:
            raise self._closed()
        loop = asyncio.get_running_loop()
        return self._wires.get(loop) or self._open(loop)

    def _open(self, loop: asyncio.AbstractEventLoop) -> Wire:
        if self._is_stranded:
            raise UnavailableError(
                "this process was forked while an event loop of its parent used the client, and gRPC's half "
                "for asyncio does not survive that; fork before the first call or after the loop has ended, "
                "start processes with the method spawn, or use Client"
            )
        self.drop_unused()
        wire = self._wires[loop] = Wire(self._endpoint, send=self._send)
        return wire

    async def _send(self, encoded: EncodedRequest, limit_s: float | None) -> bytes:
        more = self._endpoint.arguments_about(encoded.request)
        return await self._call(FORWARD, encoded.data, limit_s=limit_s, **more)

    async def _call(self, path: str, data: bytes, *, limit_s: float | None, **more: Any) -> bytes:
        method = self._wire().unary(path)
        with self._translating():
            return cast("bytes", await method(data, timeout=limit_s, **more))

    async def _known_limits(self, limit_s: float | None) -> Limits:
        """Returns the server's limits, asked for once."""
        if self._limits is None:
            data = await self._call(GET_SERVER_INFO, SERVER_INFO_REQUEST, limit_s=limit_s)
            self._limits = decode_server_info(data).limits
        return self._limits

    def _limits_at_hand(self) -> Limits:
        """The same, once they were asked for."""
        assert self._limits is not None  # noqa: S101 - a caller that cannot wait has waited before
        return self._limits

    def _drive(self, exchange: Exchange[Any], *, timeout_s: float | None) -> AsyncGenerator[Outcome, None]:
        def open_stream(requests: AsyncIterator[bytes], left_s: float | None) -> Any:
            more = self._endpoint.arguments_about(exchange)
            return self._wire().stream(FORWARD_STREAM)(requests, timeout=left_s, **more)

        return drive(exchange, open_stream, timeout_s=timeout_s, translating=self._translating)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turns what grpc.aio raises into this package's errors."""
        try:
            yield
        except grpc.RpcError as error:
            if self._is_closed:
                raise self._closed() from None
            raise self._endpoint.error(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # by the caller, whose right it is
                raise
            if self._is_closed:
                raise self._closed() from None
            # grpc.aio raises this also for a server's CANCELLED
            message = "the call was cancelled by the server or on the way"
            raise CallCancelledError(message, code=grpc.StatusCode.CANCELLED) from None

    async def _forward_in_parts(self, request: Request, *, limits: Limits, limit_s: float | None) -> Result:
        exchange = exchange_for_parts(request, limits=limits)
        (outcome,) = [outcome async for outcome in self._drive(exchange, timeout_s=limit_s)]
        return outcome.result
