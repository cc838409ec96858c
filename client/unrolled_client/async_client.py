"""The asynchronous client."""

from __future__ import annotations  # help() then shows the short names of types

# ruff: noqa: TC001 - get_type_hints needs the types at run time
import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from typing import Any, NamedTuple, Never, Self

import grpc

from unrolled_client._coalescing import Coalescer, is_mergeable
from unrolled_client._messages.arguments import as_bool, resolve_timeout_s
from unrolled_client._messages.decoding import decode_local, decode_reply, decode_server_info
from unrolled_client._messages.request import FORWARD, FORWARD_STREAM, GET_SERVER_INFO, EncodedRequest
from unrolled_client._messages.validation import check_request
from unrolled_client._messages.words import refuse_surrogates
from unrolled_client._streaming import calls
from unrolled_client._streaming.aio_driver import Source, drive
from unrolled_client._streaming.exchange import Exchange
from unrolled_client._streaming.local_driver import drive_locally_async
from unrolled_client._streaming.progress import progress_bar
from unrolled_client._streaming.sizing import DEFAULT_MAX_IN_FLIGHT, encode_whole, is_bulk, may_be_bulk
from unrolled_client._transport.base_client import BaseClient
from unrolled_client._transport.connection import AioConnection, load_tracing
from unrolled_client._transport.endpoint import (
    DEFAULT_TIMEOUT_S,
    ChannelOptions,
    Metadata,
    RootCertificates,
    Spread,
)
from unrolled_client._transport.fork_safety import register
from unrolled_client._transport.target import NOT_GIVEN, Target
from unrolled_client.errors import CallCancelledError, UnavailableError
from unrolled_client.network import (
    Cell,
    Nonlinearity,
    OnEmpty,
    Output,
    UnknownSymbol,
    UnknownWord,
    options_in,
)
from unrolled_client.results import Layout, Limits, OnError, Outcome, Result, ServerInfo, StateLike
from unrolled_client.session import AsyncSession


class _LoopState(NamedTuple):
    """What belongs to one event loop."""

    connection: AioConnection
    coalescer: Coalescer


class AsyncClient(BaseClient):
    """Calls an Unrolled server from coroutines, with the methods, results and errors of `Client`.

    One client serves any number of coroutines and event loops; each loop gets its own connections. Small
    waiting calls that ask for the same network over the same alphabet share a request, with the bits that
    they would have alone; each keeps its own result, error, deadline and cancellation.
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
        **unknown: Never,
    ) -> None:
        """Stores the address without connecting; needs no running loop. The arguments are those of `Client`.

        `merge` lets small waiting calls share requests; with `tracing` a shared one has one span, a child of
        the first caller's span with links to the others'. `channels` is the number for each event loop.
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
            **unknown,
        )

    def _prepare(self) -> None:
        self._tracing = load_tracing(self._endpoint)
        self._loops: dict[asyncio.AbstractEventLoop, _LoopState] = {}
        self._was_forked_in_use = False
        register(self)

    async def forward(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_size: int,
        seed: int | None = 0,
        alphabet: str | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        initial_state: StateLike | None = None,
        timeout_s: float | None = None,
        progress: bool | None = False,
        **unknown: Never,
    ) -> Result:
        """Runs words through a network; see `Client.forward`. Cancelling a call cancels no other."""
        request = check_request(
            words,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            initial_state=initial_state,
            is_local=self._in_process is not None,
            call=AsyncClient.forward,
        )
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        has_bar = as_bool("progress", progress, default=False)
        self._note_alphabet(request)
        if request.network.truncate:
            request = request.truncated((await self._known_limits(limit_s)).max_word_length)
        if self._merge and self._in_process is None and is_mergeable(request):
            refuse_surrogates(request.words, request.alphabet)
            return await self._loop_state().coalescer.call(request, timeout_s=limit_s)
        if may_be_bulk(request) and is_bulk(request, limits := await self._known_limits(limit_s)):
            with progress_bar("words", total=len(request.words), is_wanted=has_bar) as advance:
                exchange = calls.exchange_for_parts(request, limits=limits, advance=advance)
                (outcome,) = [outcome async for outcome in self._drive(exchange, timeout_s=limit_s)]
            return outcome.result
        encoded = encode_whole(request)
        if self._in_process is not None:
            return decode_local(await self._in_process.answer_async(encoded, timeout_s=limit_s), encoded)
        return decode_reply(await self._send(encoded, limit_s), encoded)

    async def map(  # noqa: PLR0913 - the request's fields by name
        self,
        batches: Iterable[Iterable[str]] | AsyncIterable[Iterable[str]],
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        ordered: bool | None = True,
        on_error: OnError | None = "raise",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> AsyncGenerator[Outcome, None]:
        """Runs many batches of words over one stream, with a bounded number in flight; see `Client.map`.

        It takes batches on the event loop, which a slow iterator blocks; an asynchronous iterable does not.
        Leave it early with `contextlib.aclosing`, which cancels what is in flight.
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = calls.exchange_for_map(
            Source(batches) if isinstance(batches, AsyncIterable) else batches,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            is_ordered=ordered,
            max_in_flight=max_in_flight,
            limits=self._stored_limits,
            is_local=self._in_process is not None,
            call=AsyncClient.map,
        )
        stops_at_error = calls.is_raising(on_error)
        has_bar = as_bool("progress", progress, default=False)
        await self._known_limits(limit_s)
        with progress_bar("batches", total=exchange.batch_count, is_wanted=has_bar) as advance:
            async with aclosing(self._drive(exchange, timeout_s=limit_s)) as outcomes:
                async for outcome in outcomes:
                    if stops_at_error and outcome.error is not None:
                        raise outcome.error
                    advance(1)
                    yield outcome

    async def sweep(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_sizes: Iterable[int],
        seeds: Iterable[int],
        alphabet: str | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> AsyncGenerator[Result, None]:
        """Runs the same words through many networks over one stream; see `Client.sweep`."""
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = calls.exchange_for_sweep(
            words,
            hidden_sizes=hidden_sizes,
            seeds=seeds,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            max_in_flight=max_in_flight,
            limits=self._stored_limits,
            is_local=self._in_process is not None,
            note_alphabet=partial(self._note_alphabet, stacklevel=4),
            call=AsyncClient.sweep,
        )
        has_bar = as_bool("progress", progress, default=False)
        await self._known_limits(limit_s)
        with progress_bar("networks", total=exchange.batch_count, is_wanted=has_bar) as advance:
            async with aclosing(self._drive(exchange, timeout_s=limit_s)) as outcomes:
                async for outcome in outcomes:
                    advance(1)
                    yield outcome.result

    def session(  # noqa: PLR0913 - the request's fields by name
        self,
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        state: StateLike | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> AsyncSession:
        """Returns a session that feeds long texts piece by piece; see `Client.session`."""
        return AsyncSession(
            self.forward,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            state=state,
            layout=layout,
            timeout_s=timeout_s,
            options=options_in(locals()),
            call=AsyncClient.session,
        )

    async def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """Returns the server's device, limits, versions and fingerprint."""
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        if self._in_process is not None:
            return self._in_process.server_info()
        metadata = self._endpoint.metadata
        reply = await self._call(GET_SERVER_INFO, b"", timeout_s=limit_s, metadata=metadata)
        return decode_server_info(reply)

    async def close(self) -> None:
        """Closes the connections or, after `local`, stops computing. Waiting calls raise ClosedError."""
        self._is_closed = True
        loops, self._loops = self._loops, {}
        for loop, state in loops.items():
            if loop is asyncio.get_running_loop():
                await self._close_loop(state)
            elif loop.is_running():  # no call waits in a loop that does not run
                asyncio.run_coroutine_threadsafe(self._close_loop(state), loop)
        if self._in_process is not None:
            self._in_process.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    def before_fork(self) -> bool:
        """Closes the channels of ended loops, with which gRPC's own thread ends; not for users."""
        loops = self._loops
        self._loops = {loop: state for loop, state in loops.items() if not loop.is_closed()}
        return len(self._loops) < len(loops)

    def after_fork_in_child(self) -> object:
        """Forgets all channels and returns them; not for users."""
        loops, self._loops = self._loops, {}
        self._was_forked_in_use = bool(loops)
        return loops

    def _arguments(self) -> dict[str, Any]:
        return {"merge": self._merge, **super()._arguments()}

    def _loop_state(self) -> _LoopState:
        """Returns what belongs to the running loop."""
        if self._is_closed:
            raise self._closed()
        loop = asyncio.get_running_loop()
        return self._loops.get(loop) or self._open(loop)

    def _open(self, loop: asyncio.AbstractEventLoop) -> _LoopState:
        if self._was_forked_in_use:
            raise UnavailableError(
                "this process was forked while an event loop of its parent used the client, and gRPC's half "
                "for asyncio does not survive that; fork before the first call or after the loop has ended, "
                "start processes with the method spawn, or use Client"
            )
        self.before_fork()  # drops ended loops
        connection = AioConnection(self._endpoint, tracing=self._tracing)
        coalescer = Coalescer(self._send, target=self._endpoint.target, tracing=self._tracing)
        state = self._loops[loop] = _LoopState(connection, coalescer)
        return state

    async def _close_loop(self, state: _LoopState) -> None:
        state.coalescer.close(self._closed())
        await state.connection.close()

    async def _send(self, encoded: EncodedRequest, limit_s: float | None) -> bytes:
        metadata = self._endpoint.metadata_for(encoded.request)
        return await self._call(FORWARD, encoded.data, timeout_s=limit_s, metadata=metadata)

    async def _call(
        self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None
    ) -> bytes:
        connection = self._loop_state().connection
        with self._translating():
            return await connection.call(path, data, timeout_s=timeout_s, metadata=metadata)

    async def _known_limits(self, limit_s: float | None) -> Limits:
        """Returns the server's limits; asks for them once."""
        if self._limits is None:
            self._limits = (await self.server_info(timeout_s=math.inf if limit_s is None else limit_s)).limits
        return self._limits

    def _stored_limits(self) -> Limits:
        assert self._limits is not None  # noqa: S101 - the caller has awaited `_known_limits`
        return self._limits

    def _drive(self, exchange: Exchange[Any], *, timeout_s: float | None) -> AsyncGenerator[Outcome, None]:
        if self._in_process is not None:
            answer = partial(self._in_process.answer_async, timeout_s=timeout_s)
            return drive_locally_async(exchange, answer, timeout_s=timeout_s)

        def open_stream(requests: AsyncIterator[bytes]) -> Any:
            metadata = self._endpoint.metadata_for(exchange)
            connection = self._loop_state().connection
            return connection.open_stream(FORWARD_STREAM, requests, metadata=metadata)

        return drive(exchange, open_stream, timeout_s=timeout_s, translating=self._translating)

    @contextmanager
    def _translating(self) -> Iterator[None]:
        """Turns what grpc.aio raises into this package's errors."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._error(error) from None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # the caller cancelled it
                raise
            if self._is_closed:
                raise self._closed() from None
            # grpc.aio also raises this for a server's CANCELLED
            message = "the call was cancelled by the server or on the way"
            raise CallCancelledError(message, code=grpc.StatusCode.CANCELLED) from None
