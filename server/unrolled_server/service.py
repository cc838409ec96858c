"""The contract's methods: bytes in, bytes out.

Handlers take and give bytes, because a deserialiser of gRPC's that fails answers UNKNOWN where the request
is at fault, and because a reply's array must not pass through protobuf.
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from typing import NoReturn

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply

from unrolled_server.batcher import Batcher, Computed
from unrolled_server.config import Limits
from unrolled_server.errors import (
    DETAILS_KEY,
    ComputeError,
    RequestError,
    UnsupportedError,
    status,
    status_code,
)
from unrolled_server.validation import accept, parse_info_request

LOG = logging.getLogger(__name__)
SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name

Context = grpc.aio.ServicerContext[bytes, bytes]
Method = Callable[["ForwardService", bytes, Context], Awaitable[bytes]]


def _refusing(method: Method) -> Method:
    """Turns a failure of `method` into a status: ours by their table, any other without its traceback."""

    @wraps(method)
    async def answer(self: "ForwardService", data: bytes, context: Context) -> bytes:
        refusal: RequestError
        try:
            return await method(self, data, context)
        except RequestError as error:
            refusal = error
        except Exception:
            LOG.exception("a request failed")
            refusal = ComputeError("the server failed on this request; its log says why")
        return await _abort(context, refusal)

    return answer


async def _abort(context: Context, error: RequestError) -> NoReturn:
    details = ((DETAILS_KEY, status(error).SerializeToString()),)
    await context.abort(status_code(error), str(error), trailing_metadata=details)


class ForwardService:
    """unrolled.v1.ForwardService on one batcher."""

    def __init__(self, batcher: Batcher, *, limits: Limits, info: pb.GetServerInfoReply) -> None:
        self._batcher = batcher
        self._limits = limits
        self._info = info.SerializeToString()
        self._fingerprint = info.fingerprint

    @_refusing
    async def forward(self, data: bytes, _context: Context) -> bytes:
        """One ForwardRequest to one ForwardReply."""
        accepted = accept(data, self._limits)
        encode = partial(encode_reply, request_id=accepted.id, fingerprint=self._fingerprint)
        return await self._batcher.submit(accepted.job, encode)

    @_refusing
    async def forward_stream(self, _requests: object, _context: Context) -> bytes:
        """Not there yet, and says so."""
        raise UnsupportedError("ForwardStream is not implemented by this server; use Forward")

    @_refusing
    async def get_server_info(self, data: bytes, _context: Context) -> bytes:
        """A GetServerInfoRequest to a GetServerInfoReply."""
        parse_info_request(data)
        return self._info

    def handlers(self) -> grpc.GenericRpcHandler:
        """The methods under their names in the contract, serialisation left to us."""
        return grpc.method_handlers_generic_handler(
            SERVICE_NAME,
            {
                "Forward": grpc.unary_unary_rpc_method_handler(self.forward),
                "ForwardStream": grpc.stream_unary_rpc_method_handler(self.forward_stream),
                "GetServerInfo": grpc.unary_unary_rpc_method_handler(self.get_server_info),
            },
        )


def encode_reply(computed: Computed, *, request_id: str, fingerprint: str) -> bytes:
    """A ForwardReply's bytes: the small fields by protobuf, the array appended as memory."""
    answer = computed.answer
    rest = pb.ForwardReply(
        shape=answer.values.shape,
        lengths=answer.lengths.tolist(),
        id=request_id,
        timing=pb.Timing(queue_s=computed.queue_s, compute_s=computed.compute_s),
        fingerprint=fingerprint,
    )
    return join_reply(rest, values=answer.values)
