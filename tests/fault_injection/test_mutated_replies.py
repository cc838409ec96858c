"""The SDK reads damaged replies as protobuf does, or raises one of its errors."""

import collections
import contextlib

import numpy as np
import pytest
from google.rpc import error_details_pb2
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import UnrolledError
from unrolled_client._messages.decoding import decode_reply, decode_server_info
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming.calls import Whole
from unrolled_client._streaming.exchange import Exchange

from tests.fault_injection import extent
from tests.fault_injection.judged import Judge, verified_engine
from tests.fault_injection.mutation import Mutator

pytestmark = pytest.mark.faults

SEED = 20260703
WORDS = ["abc", "a", "abd"]
KINDS = [
    {},
    {"is_distinct": True},
    {"output": "mean"},
    {"cell": "lstm", "num_layers": 2, "return_final_state": True},
    {"cell": "gru", "bidirectional": True, "return_final_state": True, "is_distinct": True},
]
# ForwardReply's final_state, timing and error.
NESTED = (5, 7, 9)
MAX_DELAY_S = 3_600


def request_of(kind):
    options = dict(kind)
    is_distinct = options.pop("is_distinct", False)
    request = check_request(
        WORDS, hidden_size=2, seed=1, alphabet="abcd", layout="batch_first", options=options
    )
    return encode(request, is_distinct=is_distinct, request_id="0")


@pytest.fixture(scope="module")
def asked():
    """Requests and their valid replies."""
    judge = Judge({}, engine=verified_engine({}))
    requests = [request_of(kind) for kind in KINDS]
    return [(request, judge.reply(judge.accepted(request.data), fingerprint="f00d")) for request in requests]


def refusals():
    """Replies with an error, as servers send them."""
    retry = error_details_pb2.RetryInfo()
    for seconds in (0, 1, -1, 1 << 62):
        retry.retry_delay.seconds = seconds
        error = pb.RequestError(code=8, message="full")
        error.details.add().Pack(retry)
        yield pb.ForwardReply(id="0", error=error).SerializeToString()
    violation = error_details_pb2.BadRequest.FieldViolation(field="words[0]", description="words[0] is empty")
    error = pb.RequestError(code=3, message="words[0] is empty")
    error.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    for code in (3, 99, -1):
        error.code = code
        yield pb.ForwardReply(id="0", error=error).SerializeToString()


def plainly(data, request):
    """Returns the array that protobuf reads from a reply that matches its request."""
    reply = pb.ForwardReply.FromString(data)
    values = np.array(reply.values, np.float32)
    if not request.is_distinct:
        return values.reshape(reply.shape)
    return values.reshape(-1, reply.shape[-1])[np.array(reply.index, np.int32)].reshape(reply.shape)


def test_a_mutated_reply_is_what_it_says_or_an_error_of_the_sdk(asked, report):
    """The result has the requested shape and the values in the bytes."""
    counts = collections.Counter()
    for at, (request, reply) in enumerate(asked):
        mutator = Mutator(f"{SEED} {at}", corpus=[reply] * 9 + [other for _, other in asked], nested=NESTED)
        right = decode_reply(reply, request)
        for _ in range(extent.cases(0.1) // len(asked)):
            data = mutator.message()
            try:
                result = decode_reply(data, request)
            except UnrolledError:
                counts["refused"] += 1
                continue
            counts["taken"] += 1
            assert result.outputs.shape == right.outputs.shape, data.hex()
            assert result.outputs.tobytes() == plainly(data, request).tobytes(), data.hex()
            assert (result.state is None) == (right.state is None)
    report(**counts)
    assert min(counts["refused"], counts["taken"]) > counts.total() / 20


def test_a_mutated_reply_on_a_stream_is_an_outcome_or_an_error_of_the_sdk(asked, report):
    """Includes refusals with any code, details and delay; none makes a client wait for years."""
    counts = collections.Counter()
    for at, (request, reply) in enumerate(asked):
        replies = [reply + pb.ForwardReply(id="0").SerializeToString(), *refusals()]
        mutator = Mutator(f"{SEED} stream {at}", corpus=replies, nested=NESTED)
        for _ in range(extent.cases(0.1) // len(asked)):
            data = mutator.message()
            exchange = Exchange(iter([None]), assemble=lambda _, r=request: Whole(r.request), max_in_flight=1)
            assert exchange.next_request(now_s=0.0)
            try:
                exchange.receive(data, now_s=0.0)
            except UnrolledError:
                counts["refused"] += 1
                continue
            assert 0 <= exchange.delay_s(now_s=0.0) <= MAX_DELAY_S, data.hex()
            outcome = exchange.next_outcome()
            counts["delayed" if outcome is None else "failed" if outcome.error else "answered"] += 1
    report(**counts)
    assert min(counts[name] for name in ("refused", "delayed", "failed", "answered")) > 0


def test_mutated_server_information_is_read_or_an_error_of_the_sdk():
    limits = pb.Limits(max_words=1, max_word_length=2, max_hidden_size=3, max_reply_bytes=4)
    info = pb.GetServerInfoReply(
        version="1", device="cpu", limits=limits, vectors=[pb.Vectors(name="a", size=3)]
    )
    mutator = Mutator(SEED, corpus=[info.SerializeToString()], nested=(5, 6))
    for _ in range(extent.cases(0.02, at_least=300)):
        with contextlib.suppress(UnrolledError):
            assert isinstance(decode_server_info(mutator.message()).limits.max_words, int)
