"""The contract's methods: bytes in, bytes out.

Handlers take and give bytes, because a deserialiser of gRPC's that fails answers UNKNOWN where the request
is at fault, and because a reply's array must not pass through protobuf.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import NoReturn, TypeVar

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.caller import Context, terms_of
from unrolled_server.errors import RequestError, status_code, trailing_metadata
from unrolled_server.intake import Intake, as_refusal
from unrolled_server.parsing import parse_info_request
from unrolled_server.slow_readers import SlowReaders
from unrolled_server.stream import Stream
from unrolled_server.turns import Turns
from unrolled_server.unary import UnaryReply

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Method = Callable[["ForwardService", Asked, Context], Awaitable[Answered]]


def _refusing(method: Method[Asked, Answered]) -> Method[Asked, Answered]:
    """Turns a failure of `method` into a status: ours by their table, any other without its traceback."""

    @wraps(method)
    async def answer(self: "ForwardService", asked: Asked, context: Context) -> Answered:
        try:
            try:
                return await method(self, asked, context)
            except grpc.aio.InternalError:
                raise
            except Exception as error:  # noqa: BLE001 - logged, and told without its traceback
                refusal = as_refusal(error)
            return await _abort(context, refusal)
        except grpc.aio.InternalError:  # nothing can be sent, because the client is gone
            raise asyncio.CancelledError from None

    return answer


async def _abort(context: Context, error: RequestError) -> NoReturn:
    await context.abort(status_code(error), str(error), trailing_metadata=trailing_metadata(error))


class ForwardService:
    """unrolled.v1.ForwardService on one intake.

    Args:
        intake: Answers requests.
        slow_readers: Are told of each reply that clients have to read.
        max_stream_bytes: What one stream may hold.
        info: The answer to GetServerInfo.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        slow_readers: SlowReaders,
        max_stream_bytes: int,
        info: pb.GetServerInfoReply,
    ) -> None:
        self._intake = intake
        self._slow_readers = slow_readers
        self._turns = Turns()
        self._max_stream_bytes = max_stream_bytes
        self._info = info.SerializeToString()
        self._streams: set[Stream] = set()
        self._drain_s: float | None = None

    @_refusing
    async def forward(self, data: bytes, context: Context) -> bytes:
        """One ForwardRequest to one ForwardReply."""
        known = self._intake.recall(data)
        if known is not None:
            return known
        terms = terms_of(context)
        self._intake.look_ahead(terms)
        accepted = self._intake.accept(data)
        ticket = self._intake.admit(accepted, terms)
        reply = UnaryReply(ticket, context, self._slow_readers, peer=terms.peer)
        message = self._intake.start(accepted, terms)
        if not isinstance(message, bytes):
            message = await message
        await self._turns.take(len(message))
        reply.begin_sending()
        return message

    @_refusing
    async def forward_stream(self, _requests: object, context: Context) -> None:
        """Many ForwardRequests to as many ForwardReplies."""
        stream = Stream(
            context,
            self._intake,
            turns=self._turns,
            slow_readers=self._slow_readers,
            max_bytes=self._max_stream_bytes,
        )
        self._streams.add(stream)
        try:
            if self._drain_s is not None:
                stream.drain(within_s=self._drain_s)
            await stream.run()
        finally:
            self._streams.discard(stream)

    @_refusing
    async def get_server_info(self, data: bytes, _context: Context) -> bytes:
        """A GetServerInfoRequest to a GetServerInfoReply."""
        parse_info_request(data)
        return self._info

    def drain(self, *, within_s: float) -> None:
        """Ends streams as they fall idle; after `within_s` none reads on."""
        self._drain_s = within_s
        for stream in self._streams:
            stream.drain(within_s=within_s)

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods under their names in the contract, serialisation left to us."""
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                "Forward": grpc.unary_unary_rpc_method_handler(self.forward),
                "ForwardStream": grpc.stream_stream_rpc_method_handler(self.forward_stream),
                "GetServerInfo": grpc.unary_unary_rpc_method_handler(self.get_server_info),
            },
        )
