"""A server process answers damaged messages with the right bits or refusal, and does not grow."""

import collections
import queue
import time
from contextlib import contextmanager

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.errors import RequestError
from unrolled_server.word_vectors import open_vectors

from tests.fault_injection import extent
from tests.fault_injection.contract_rules import Texts, texts_on_stream
from tests.fault_injection.judged import FLAGS, Judge, verified_engine, without_timing, write_vectors
from tests.fault_injection.mutation import TABLE, Mutator
from tests.fault_injection.server_process import TIMEOUT_S, GoodClient, ServerProcess

pytestmark = pytest.mark.faults

FORWARD = "/unrolled.v1.ForwardService/Forward"
FORWARD_STREAM = "/unrolled.v1.ForwardService/ForwardStream"
REFUSALS = {grpc.StatusCode.INVALID_ARGUMENT: 3, grpc.StatusCode.UNIMPLEMENTED: 12}
# The growth of calls and caches: the networks fill their memory in the first fifth.
MAX_GROWTH_MIB = 10
SEED = 20260702


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A file of word vectors, and the cache for its converted form."""
    directory = tmp_path_factory.mktemp("vectors")
    return write_vectors(directory), directory


@pytest.fixture(scope="module")
def server(vectors):
    """A server with small limits."""
    source, cache = vectors
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in FLAGS.items()]
    flags += ["--vectors", f"{TABLE}={source}", "--vectors-cache", str(cache), "--log-level", "warning"]
    with ServerProcess(*flags) as server:
        yield server


@pytest.fixture(scope="module")
def judge(vectors):
    source, cache = vectors
    tables = {TABLE: open_vectors(TABLE, source, cache_directory=cache)}
    return Judge(tables, engine=verified_engine(tables))


class Unary:
    """Sends messages as unary calls."""

    earlier = None

    def __init__(self, channel):
        self._call = channel.unary_unary(FORWARD)

    def ask(self, data):
        """Returns the reply, or the code of the refusal."""
        try:
            return self._call(data, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return REFUSALS.get(error.code(), error)


class Streamed:
    """Sends messages on one stream, one after the other, and tracks the words that they may share."""

    def __init__(self, channel):
        self._requests = queue.SimpleQueue()
        self._replies = channel.stream_stream(FORWARD_STREAM)(iter(self._requests.get, None))
        self.earlier: Texts | None = None

    def ask(self, data):
        """Returns the reply, or the code of the refusal, which has no other field but its id."""
        self._requests.put(data)
        reply = next(self._replies)
        self.earlier = texts_on_stream(data, self.earlier)
        message = pb.ForwardReply.FromString(reply)
        if not message.HasField("error"):
            return reply
        assert message.error.message
        assert {field.name for field, _ in message.ListFields()} <= {"id", "error"}, data.hex()
        return message.error.code

    def close(self):
        self._requests.put(None)
        assert list(self._replies) == []


@contextmanager
def asker(kind, server):
    with server.channel() as channel:
        asks = kind(channel)
        yield asks
        if kind is Streamed:
            asks.close()


def fingerprint_of(server):
    with server.channel() as channel:
        info = channel.unary_unary("/unrolled.v1.ForwardService/GetServerInfo")(b"")
    return pb.GetServerInfoReply.FromString(info).fingerprint


@pytest.mark.parametrize("kind", [Unary, Streamed])
def test_a_mutated_message_gets_right_bits_or_a_refusal(server, judge, report, kind):
    """A valid client is answered all the time, and the server does not grow."""
    mutator = Mutator(f"{SEED} {kind.__name__}", digest_of=judge.digest_of)
    fingerprint, good_client = fingerprint_of(server), GoodClient(server)
    codes, count = collections.Counter(), extent.cases(0.05, at_least=400)
    before, began_s = None, time.monotonic()
    with asker(kind, server) as asks:
        for at in range(count):
            data = mutator.message()
            codes[_check(judge, asks, data, fingerprint)] += 1
            if at % 50 == 0:
                good_client.ask()
            if at == count // 5:
                before = server.footprint()
    good_client.close()
    after = server.footprint()
    report(
        messages=count,
        **codes,
        seconds=time.monotonic() - began_s,
        rss_mib=before.rss_mib,
        growth_mib=after.rss_mib - before.rss_mib,
    )
    assert server.is_alive
    assert "Traceback" not in server.logged()
    if extent.IS_LONG:
        assert after.rss_mib - before.rss_mib < MAX_GROWTH_MIB


def _check(judge, asks, data, fingerprint):
    """Sends a message and compares the reply with the expected one."""
    earlier = asks.earlier
    answer = asks.ask(data)
    if judge.why_refused(data, earlier=earlier) is not None:
        assert answer in REFUSALS.values(), (data.hex(), answer)
        return f"code {answer}"
    accepted = judge.accepted(_with_own_words(data, earlier))
    assert not isinstance(accepted, RequestError), data.hex()
    due = judge.reply(accepted, fingerprint=fingerprint)
    if due is None:
        assert answer == REFUSALS[grpc.StatusCode.INVALID_ARGUMENT]
        return "too large"
    assert isinstance(answer, bytes), (data.hex(), answer)
    assert without_timing(answer) == without_timing(due), data.hex()
    return "answered"


def _with_own_words(data, earlier):
    """Returns the request with the words that it shares written out."""
    request = pb.ForwardRequest.FromString(data)
    if not request.same_words:
        return data
    request.same_words = False
    request.words.extend(earlier.words)
    request.alphabet = earlier.alphabet
    return request.SerializeToString()
