"""From a request's bytes to its reply's bytes: the way that unary calls and streams share.

A file of its own so that both keep one rule. It waits for nothing: work that is not answered at once comes as
a future.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id, join_reply, reply_trailer, state_field

from unrolled_server.call_context import CallInfo
from unrolled_server.engine import NetworkSpec
from unrolled_server.errors import ComputeError, RequestError
from unrolled_server.rpc.reply_cache import Replies
from unrolled_server.scheduling.admission import Admission, Forecast, Ticket
from unrolled_server.scheduling.batcher import Batcher, Computed
from unrolled_server.scheduling.loop_lag import Lag
from unrolled_server.settings.model import Limits
from unrolled_server.validation.request import AcceptedRequest, accept
from unrolled_server.validation.words import SharedTexts
from unrolled_server.word_vectors import VectorTable

LOG = logging.getLogger(__name__)

# A loop that is so little behind is not: one large write takes as long.
MIN_LAG_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """Accepts, admits and starts requests. Used from one event loop."""

    batcher: Batcher
    limits: Limits
    admission: Admission
    replies: Replies
    lag: Lag
    tables: Mapping[str, VectorTable]
    fingerprint: str

    def recall(self, data: bytes) -> bytes | None:
        """The reply to the request in `data`, if it is small and was sent before."""
        return self.replies.find(data)

    def accept(self, data: bytes, *, shared: SharedTexts | None = None) -> AcceptedRequest:
        """The request in `data`, judged; `shared` has the texts that its stream's requests share.

        Raises:
            InvalidRequestError: As `validation.accept`.
            UnsupportedError: As `validation.accept`.
        """
        return accept(data, self.limits, tables=self.tables, shared=shared)

    def look_ahead(self, call: CallInfo) -> None:
        """Refuses a request unread if whatever it asks for would wait too long.

        Raises:
            OverloadedError: It would.
        """
        forecast = self._behind(self.batcher.least_wait(call.client))
        if forecast.wait_s:
            self.admission.look_ahead(forecast, left_s=call.deadline_s - time.monotonic())

    def admit(self, accepted: AcceptedRequest, call: CallInfo) -> Ticket:
        """Room for the request and its reply; the caller releases it.

        Raises:
            OverloadedError: There is none, or it would not be done in time.
        """
        return self.admission.admit(
            call,
            byte_count=accepted.byte_count,
            multiplications=accepted.job.multiplications,
            forecast=self._behind(self.batcher.forecast(accepted.job, call)),
            now_s=time.monotonic(),
        )

    def start(self, accepted: AcceptedRequest, call: CallInfo) -> bytes | asyncio.Future[bytes]:
        """The reply's bytes, at once where the work is small and known.

        Cancelling the future drops the request if it still waits; the future fails with a RequestError only.

        Raises:
            RequestError: As `Batcher.start`; no other request is touched.
        """
        id_field = encode_id(accepted.id)
        encode = partial(
            encode_reply,
            id_field=id_field,
            fingerprint=self.fingerprint,
            network=accepted.job.network,
        )
        reply = self.batcher.start(accepted.job, encode, call)
        if isinstance(reply, bytes) and accepted.is_whole:
            self.replies.keep(accepted.data, reply, id_field=id_field)
        return reply

    def _behind(self, forecast: Forecast) -> Forecast:
        """The forecast on a loop that lags: a computed reply has to wait for its turn there."""
        lag_s = self.lag.lag_s
        return replace(forecast, wait_s=forecast.wait_s + lag_s) if lag_s > MIN_LAG_S else forecast


def encode_reply(computed: Computed, *, id_field: bytes, fingerprint: str, network: NetworkSpec) -> bytes:
    """A ForwardReply's bytes: the small fields by protobuf, the arrays appended as memory."""
    answer = computed.answer
    rest = pb.ForwardReply(shape=answer.shape, lengths=answer.lengths.tolist(), fingerprint=fingerprint)
    trailer = reply_trailer(id_field=id_field, queue_s=computed.queue_s, compute_s=computed.compute_s)
    state = answer.final_state
    if state is not None:
        number = pb.ForwardReply.FINAL_STATE_FIELD_NUMBER
        trailer = state_field(number, h=state.h, c=state.c, network_digest=network.digest) + trailer
    return join_reply(rest, values=answer.values, index=answer.index, trailer=trailer)


def as_refusal(error: BaseException) -> RequestError:
    """What the caller is told of `error`: ours as it is, any other without its traceback."""
    if isinstance(error, RequestError):
        return error
    LOG.error("a request failed", exc_info=error)
    return ComputeError("the server failed on this request; its log says why")
