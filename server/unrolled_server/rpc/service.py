"""The contract's methods: bytes in, bytes out.

Handlers take and give bytes, because a deserialiser of gRPC's that fails answers UNKNOWN where the request
is at fault, and because a reply's array must not pass through protobuf.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from typing import NoReturn, TypeAlias

import grpc
import grpc.aio
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.call_context import Context, terms_of
from unrolled_server.errors import DrainingError, RequestError, status_code, trailing_metadata
from unrolled_server.observability.counters import CANCELLED, FORWARD, GET_SERVER_INFO, OK
from unrolled_server.observability.request_observer import RequestObserver
from unrolled_server.rpc.outbound import Outbound
from unrolled_server.rpc.pipeline import Intake, as_refusal
from unrolled_server.rpc.stream import Stream
from unrolled_server.rpc.unary import UnaryReply
from unrolled_server.validation.parsing import parse_info_request

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name

# What a call that comes while the server drains may wait for the end of its connection.
MAX_HOLD_S = 1.0

Unary: TypeAlias = Callable[["ForwardService", bytes, Context], Awaitable[bytes]]


def _answering(name: str) -> Callable[[Unary], Unary]:
    """Has the end of a unary method's calls observed, and turns failures into a status.

    Ours become what their table says, any other loses its traceback.
    """

    def answering(method: Unary) -> Unary:
        @wraps(method)
        async def answer(self: "ForwardService", data: bytes, context: Context) -> bytes:
            pending = self.observer.received(name, data, context)
            try:
                reply = await method(self, data, context)
            except Exception as error:  # noqa: BLE001 - logged, and told without its traceback
                refusal = as_refusal(error)
            except BaseException:  # the caller is gone
                self.observer.cancelled(pending)
                raise
            else:
                self.observer.answered(pending, reply)
                return reply
            self.observer.refused(pending, refusal)
            return await _abort(context, refusal)

        return answer

    return answering


async def _abort(context: Context, error: RequestError) -> NoReturn:
    with _quiet_where_the_client_is_gone():
        await context.abort(status_code(error), str(error), trailing_metadata=trailing_metadata(error))


@contextmanager
def _quiet_where_the_client_is_gone() -> Iterator[None]:
    """Ends a call like one that was cancelled when gRPC can't send, which it would log as our failure."""
    try:
        yield
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None


class ForwardService:
    """unrolled.v1.ForwardService on one intake.

    Args:
        intake: Answers requests.
        observer: Is told how they end.
        outbound: How replies leave.
        max_stream_bytes: What one stream may hold.
        info: The answer to GetServerInfo.
    """

    def __init__(
        self,
        intake: Intake,
        observer: RequestObserver,
        *,
        outbound: Outbound,
        max_stream_bytes: int,
        info: pb.GetServerInfoReply,
    ) -> None:
        self._intake = intake
        self.observer = observer
        self._outbound = outbound
        self._max_stream_bytes = max_stream_bytes
        self._info = info.SerializeToString()
        self._streams: set[Stream] = set()
        self._drain_s: float | None = None
        self._is_ending = asyncio.Event()

    @_answering(FORWARD)
    async def forward(self, data: bytes, context: Context) -> bytes:
        """One ForwardRequest to one ForwardReply."""
        known = self._intake.recall(data)
        if known is not None:
            self.observer.counters.kept_replies += 1
            return known
        if self._drain_s is not None:
            await self._hold()
        terms = terms_of(context)
        self._intake.look_ahead(terms)
        accepted = self._intake.accept(data)
        ticket = self._intake.admit(accepted, terms)
        reply = UnaryReply(ticket, context, self._outbound, peer=terms.peer)
        self.observer.accepted(words=len(accepted.job.words), symbols=accepted.job.words.letter_count)
        message = self._intake.start(accepted, terms)
        if not isinstance(message, bytes):
            message = await message
        reply.end_work()
        await self._outbound.take_turn(len(message))
        reply.begin_sending()
        return message

    async def forward_stream(self, _requests: object, context: Context) -> None:
        """Many ForwardRequests to as many ForwardReplies."""
        code = CANCELLED
        try:
            with _quiet_where_the_client_is_gone():
                await self._run_stream(context)
            code = OK
        except Exception as error:  # noqa: BLE001 - logged, and told without its traceback
            refusal = as_refusal(error)
            code = status_code(refusal).name
            await _abort(context, refusal)
        finally:
            self.observer.stream_ended(code)

    def collect(self) -> Iterator[Metric]:
        """Yields the metrics; may be called from any thread."""
        yield from self.observer.counters.collect()
        yield GaugeMetricFamily("unrolled_open_streams", "Streams that are open.", len(self._streams))

    async def _run_stream(self, context: Context) -> None:
        stream = Stream(
            context,
            self._intake,
            self.observer,
            outbound=self._outbound,
            max_bytes=self._max_stream_bytes,
        )
        self._streams.add(stream)
        try:
            if self._drain_s is not None:
                stream.drain(within_s=self._drain_s)
            await stream.run()
        finally:
            self._streams.discard(stream)

    @_answering(GET_SERVER_INFO)
    async def get_server_info(self, data: bytes, _context: Context) -> bytes:
        """A GetServerInfoRequest to a GetServerInfoReply."""
        parse_info_request(data)
        return self._info

    async def _hold(self) -> NoReturn:
        """Keeps a call that came as the server drains until its connection ends, so a retry takes another.

        Raises:
            DrainingError: Always.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_HOLD_S):
                await self._is_ending.wait()
        raise DrainingError("the server is shutting down; ask another, or later")

    def drain(self, *, within_s: float) -> None:
        """Takes no new calls, and ends streams as they fall idle; after `within_s` none reads on."""
        self._drain_s = within_s
        for stream in self._streams:
            stream.drain(within_s=within_s)

    def send_away(self) -> None:
        """Refuses the calls that are held, as their connections end."""
        self._is_ending.set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Adds the methods under their names in the contract, serialisation left to us."""
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Forward": grpc.unary_unary_rpc_method_handler(self.forward),
            "ForwardStream": grpc.stream_stream_rpc_method_handler(self.forward_stream),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(self.get_server_info),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, methods),))
        server.add_registered_method_handlers(SERVICE_NAME, methods)
