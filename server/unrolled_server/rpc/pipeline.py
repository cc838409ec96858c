"""The way of a request from bytes to admitted work, shared by unary calls and streams."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import (
    TIMING_BYTES,
    Piece,
    ReplyMessage,
    encode_id,
    join_reply,
    reply_trailer,
    state_field,
)

from unrolled_server.array_types import Float32, Int32
from unrolled_server.call_context import CallInfo
from unrolled_server.engine import Answer, Job, State
from unrolled_server.errors import ComputeError, RequestError
from unrolled_server.observability.request_observer import RequestObserver
from unrolled_server.rpc.reply_cache import ReplyCache
from unrolled_server.scheduling.admission import Admission, Reservation, WaitEstimate
from unrolled_server.scheduling.compute_thread import ComputeThread
from unrolled_server.scheduling.cost_model import Work
from unrolled_server.scheduling.loop_lag import EventLoopLag
from unrolled_server.validation.request import AcceptedRequest, RequestValidator
from unrolled_server.validation.words import SharedWords

LOG = logging.getLogger(__name__)

# Up to so many floats an array is copied into its message, which costs less than writing it in place: 4 us.
MAX_JOINED_FLOATS = 16 << 10


class Submission(NamedTuple):
    """An admitted request. The caller releases the reservation.

    A future of the reply fails with a `RequestError` only; cancelling it drops or stops the request.
    """

    id: str
    reservation: Reservation
    reply: bytes | asyncio.Future[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPipeline:
    """Checks, admits and submits requests; refuses them by a `RequestError`. Used from one event loop."""

    validator: RequestValidator
    admission: Admission
    compute_thread: ComputeThread
    cache: ReplyCache
    lag: EventLoopLag
    observer: RequestObserver

    def cached_reply(self, data: bytes) -> bytes | None:
        """Returns the reply to the request in `data`, if it is small and was sent before."""
        reply = self.cache.get(data)
        if reply is not None:
            self.observer.counters.kept_replies += 1
        return reply

    async def submit(
        self,
        data: bytes,
        call: CallInfo,
        *,
        shared_words: SharedWords | None = None,
        wait_for_room: Callable[[int], Awaitable[None]] | None = None,
    ) -> Submission:
        """Validates, admits and starts a ForwardRequest that `cached_reply` does not know.

        `wait_for_room` waits until a stream may hold so many more bytes, of the request and its reply.
        """
        self.check_deadline(call)
        request = self.validator.validate(data, shared_words)
        if wait_for_room is not None:
            await wait_for_room(request.byte_count)
        job = request.job
        work = self.compute_thread.estimate(job)
        wait_s = self.compute_thread.wait_s(call.client, work)
        reservation = self.admission.admit(
            call,
            byte_count=request.byte_count,
            multiplications=work.multiplications,
            # A computed reply has to wait for the event loop, too.
            estimate=WaitEstimate(wait_s=wait_s + self.lag.significant_s, cost_s=work.cost_s),
            now_s=time.monotonic(),
        )
        self.observer.accepted(words=len(job.words), symbols=job.words.letter_count)
        try:
            reply = self._start(request, work, call)
        except BaseException:
            reservation.release()
            raise
        return Submission(request.id, reservation, reply)

    def check_deadline(self, call: CallInfo) -> None:
        """Refuses a request before it is parsed if even the smallest would wait too long."""
        wait_s = self.compute_thread.min_wait_s(call.client) + self.lag.significant_s
        if wait_s:
            remaining_s = call.deadline_s - time.monotonic()
            self.admission.check_wait(WaitEstimate(wait_s=wait_s), remaining_s=remaining_s)

    def _start(self, request: AcceptedRequest, work: Work, call: CallInfo) -> bytes | asyncio.Future[bytes]:
        id_field = encode_id(request.id)
        reply = self.compute_thread.submit(work, call, id_field=id_field)
        if isinstance(reply, bytes) and request.is_cacheable:
            self.cache.put(request.data, reply, id_field=id_field)
        return reply


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardReplyEncoder:
    """Encodes answers as ForwardReplies."""

    fingerprint: str

    def start(self, job: Job, *, id_field: bytes) -> "PendingForwardReply":
        """See `ReplyEncoder`."""
        return PendingForwardReply(job, id_field=id_field, fingerprint=self.fingerprint)


class PendingForwardReply:
    """A ForwardReply; if it is large, the engine writes the values into its bytes."""

    def __init__(self, job: Job, *, id_field: bytes, fingerprint: str) -> None:
        # Not the job, which refers to this object: a cycle would keep the bytes.
        self._words, self._network, self._fingerprint = job.words, job.network, fingerprint
        self._id_field = id_field
        self._message: ReplyMessage | None = None
        if job.position_count * job.network.output_size > MAX_JOINED_FLOATS:
            job.new_values = self._new_values

    def finish(self, answer: Answer, *, queue_s: float, compute_s: float) -> bytes:
        """See `PendingReply`."""
        trailer = reply_trailer(id_field=self._id_field, queue_s=queue_s, compute_s=compute_s)
        message, self._message = self._message, None  # the job may live longer than its reply
        if message is not None:
            return message.finish(trailer)
        rest, more = self._rest(answer.shape), self._state_field(answer.final_state)
        return join_reply(rest, values=answer.values, index=answer.index, more=more, trailer=trailer)

    def _new_values(
        self, shape: tuple[int, ...], index: Int32[np.ndarray, "batch seq"] | None, state: State | None
    ) -> Float32[np.ndarray, "*rows output"]:
        self._message = ReplyMessage(
            self._rest(shape if index is None else (*index.shape, shape[-1])),
            shape=shape,
            index=index,
            more=self._state_field(state),
            trailer_size=TIMING_BYTES + len(self._id_field),
        )
        return self._message.values

    def _rest(self, shape: tuple[int, ...]) -> pb.ForwardReply:
        lengths = self._words.lengths.tolist()
        return pb.ForwardReply(shape=shape, lengths=lengths, fingerprint=self._fingerprint)

    def _state_field(self, state: State | None) -> Sequence[Piece]:
        if state is None:
            return ()
        number = pb.ForwardReply.FINAL_STATE_FIELD_NUMBER
        return state_field(number, h=state.h, c=state.c, network_digest=self._network.digest)


def as_request_error(error: BaseException) -> RequestError:
    """Returns what the client gets for `error`; logs any that is not a RequestError."""
    if isinstance(error, RequestError):
        return error
    LOG.error("a request failed", exc_info=error)
    return ComputeError()
