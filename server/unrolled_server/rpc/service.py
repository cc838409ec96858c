"""The contract's three methods."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.call_context import Context, call_info
from unrolled_server.errors import DrainingError, RequestError, status_code, trailing_metadata
from unrolled_server.observability.counters import CANCELLED, FORWARD, GET_SERVER_INFO, OK
from unrolled_server.rpc.pipeline import RequestPipeline, as_request_error
from unrolled_server.rpc.reply_writer import WriteScheduler
from unrolled_server.rpc.stream import Stream
from unrolled_server.scheduling.admission import Reservation
from unrolled_server.scheduling.slow_consumers import SlowConsumers
from unrolled_server.validation.parsing import parse_info_request

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name

# How long a call that arrives during a drain may wait for the end of its connection.
MAX_DELAY_S = 1.0

UnaryMethod: TypeAlias = Callable[["ForwardService", bytes, Context], Awaitable[bytes]]


def _observed(name: str) -> Callable[[UnaryMethod], UnaryMethod]:
    """Reports the end of a unary method's calls to the observer, and turns exceptions into a status."""

    def decorate(method: UnaryMethod) -> UnaryMethod:
        @wraps(method)
        async def handler(self: "ForwardService", data: bytes, context: Context) -> bytes:
            pending = self.observer.received(name, data, context)
            try:
                reply = await method(self, data, context)
            except Exception as error:  # noqa: BLE001 - logged, and reported without its traceback
                refusal = as_request_error(error)
            except BaseException:  # cancelled
                self.observer.cancelled(pending)
                raise
            else:
                self.observer.answered(pending, reply)
                return reply
            self.observer.refused(pending, refusal)
            return await _abort(context, refusal)

        return handler

    return decorate


async def _abort(context: Context, error: RequestError) -> NoReturn:
    with _cancelled_if_client_is_gone():
        await context.abort(status_code(error), str(error), trailing_metadata=trailing_metadata(error))


@contextmanager
def _cancelled_if_client_is_gone() -> Iterator[None]:
    """Ends a call as cancelled when gRPC can't send, which it would log as a failure of the handler."""
    try:
        yield
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


class ForwardService:
    """unrolled.v1.ForwardService: bytes in, bytes out.

    Methods take bytes because gRPC answers UNKNOWN where a deserialiser fails on a wrong request, and return
    bytes because a reply's array must not pass through protobuf.
    """

    def __init__(
        self,
        pipeline: RequestPipeline,
        *,
        slow_consumers: SlowConsumers,
        max_stream_bytes: int,
        info: pb.GetServerInfoReply,
    ) -> None:
        self.observer = pipeline.observer
        self._pipeline = pipeline
        self._slow_consumers = slow_consumers
        self._writes = WriteScheduler()
        self._max_stream_bytes = max_stream_bytes
        self._info = info.SerializeToString()
        self._streams: set[Stream] = set()
        self._drain_s: float | None = None
        self._is_ending = asyncio.Event()

    @_observed(FORWARD)
    async def forward(self, data: bytes, context: Context) -> bytes:
        """Answers a ForwardRequest with a ForwardReply."""
        cached = self._pipeline.cached_reply(data)
        if cached is not None:
            return cached
        if self._drain_s is not None:
            await self._delay_until_shutdown()
        _, reservation, reply = await self._pipeline.submit(data, call_info(context))
        # gRPC holds the reply until the client has read it, longer than this method runs.
        release = partial(self._release, reservation)
        context.add_done_callback(release)  # type: ignore[arg-type]  # the stubs want a class of their own
        if not isinstance(reply, bytes):
            reply = await reply
        reservation.end_work()
        await self._writes.wait_turn(len(reply))
        self._slow_consumers.add(reservation, now_s=time.monotonic())
        return reply

    async def forward_stream(self, _requests: object, context: Context) -> None:
        """Answers many ForwardRequests with as many ForwardReplies."""
        code = CANCELLED
        try:
            with _cancelled_if_client_is_gone():
                await self._run_stream(context)
            code = OK
        except Exception as error:  # noqa: BLE001 - logged, and reported without its traceback
            refusal = as_request_error(error)
            code = status_code(refusal).name
            await _abort(context, refusal)
        finally:
            self.observer.stream_ended(code)

    @_observed(GET_SERVER_INFO)
    async def get_server_info(self, data: bytes, _context: Context) -> bytes:
        """Answers a GetServerInfoRequest with a GetServerInfoReply."""
        parse_info_request(data)
        return self._info

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        yield from self.observer.counters.collect()
        yield GaugeMetricFamily("unrolled_open_streams", "Streams that are open.", len(self._streams))

    def drain(self, *, within_s: float) -> None:
        """Accepts no new calls, and ends streams as they fall idle; after `within_s` none reads on."""
        self._drain_s = within_s
        for stream in self._streams:
            stream.drain(within_s=within_s)

    def refuse_delayed(self) -> None:
        """Refuses the calls that arrived during the drain, as their connections end."""
        self._is_ending.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the methods under their names in the contract, without serialisers."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Forward": grpc.unary_unary_rpc_method_handler(self.forward),
            "ForwardStream": grpc.stream_stream_rpc_method_handler(self.forward_stream),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(self.get_server_info),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
        server.add_registered_method_handlers(SERVICE_NAME, methods)

    def _release(self, reservation: Reservation, _context: Context) -> None:
        self._slow_consumers.remove(reservation)
        reservation.release()

    async def _run_stream(self, context: Context) -> None:
        stream = Stream(
            context,
            self._pipeline,
            writes=self._writes,
            slow_consumers=self._slow_consumers,
            max_bytes=self._max_stream_bytes,
        )
        self._streams.add(stream)
        try:
            if self._drain_s is not None:
                stream.drain(within_s=self._drain_s)
            await stream.run()
        finally:
            self._streams.discard(stream)

    async def _delay_until_shutdown(self) -> NoReturn:
        """Refuses a call that arrives during a drain, when its connection ends, so a retry takes another."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_DELAY_S):
                await self._is_ending.wait()
        raise DrainingError("the server is shutting down; ask another, or later")
