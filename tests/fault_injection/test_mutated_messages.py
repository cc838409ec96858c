"""The server refuses a damaged message that is not a valid request, and otherwise reads it as protobuf does.

Two implementations decide whether a message is valid: the server's code, and contract_rules.py.
"""

import collections
import math
import time

import psutil
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id
from unrolled_server.errors import RequestError, status_code, trailing_metadata
from unrolled_server.rpc.reply_cache import ReplyCache
from unrolled_server.validation.parsing import request_id
from unrolled_server.word_vectors import open_vectors

from tests.fault_injection import extent
from tests.fault_injection.contract_rules import canonical
from tests.fault_injection.judged import Judge, same_job, verified_engine, without_timing, write_vectors
from tests.fault_injection.mutation import TABLE, Mutator

pytestmark = pytest.mark.faults

MAX_METADATA_BYTES = 8 << 10
MAX_GROWTH_MIB = 10
MAX_MESSAGE_S = 1.0
SEED = 20260701


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    directory = tmp_path_factory.mktemp("vectors")
    return {TABLE: open_vectors(TABLE, write_vectors(directory), cache_directory=directory)}


def test_a_mutated_message_is_read_as_protobuf_reads_it_or_refused(tables, report):
    """A message is accepted if and only if the rules allow it, with the content that protobuf reads."""
    judge = Judge(tables)
    mutator = Mutator(SEED, digest_of=judge.digest_of)
    codes, count = collections.Counter(), extent.cases()
    slowest_s, began_s, process = 0.0, time.monotonic(), psutil.Process()
    rss_mib = None
    for at in range(count):
        data = mutator.message()
        start_s = time.thread_time()
        accepted = judge.accepted(data)
        slowest_s = max(slowest_s, time.thread_time() - start_s)
        codes[_check(judge, data, accepted)] += 1
        if at == count // 5:  # the caches are full by then
            rss_mib = process.memory_info().rss / 2**20
    growth_mib = process.memory_info().rss / 2**20 - rss_mib
    report(
        messages=count,
        **codes,
        seconds=time.monotonic() - began_s,
        slowest_ms=slowest_s * 1e3,
        rss_mib=rss_mib,
        growth_mib=growth_mib,
    )
    assert min(codes["accepted"], codes["INVALID_ARGUMENT"], codes["UNIMPLEMENTED"]) > count / 50
    if extent.IS_LONG:
        assert growth_mib < MAX_GROWTH_MIB
        assert slowest_s < MAX_MESSAGE_S


def _check(judge, data, accepted):
    """Returns the verdict, on which both implementations agree."""
    reason = judge.why_refused(data)
    if isinstance(accepted, RequestError):
        assert reason is not None, (data.hex(), accepted)
        assert str(accepted)
        size = sum(len(key) + len(value) for key, value in trailing_metadata(accepted))
        assert size * 4 / 3 + 3 * len(str(accepted).encode()) < MAX_METADATA_BYTES, data.hex()
        assert isinstance(request_id(data), str)
        return status_code(accepted).name
    assert reason is None, (data.hex(), reason)
    plain = pb.ForwardRequest.FromString(data)
    again = judge.accepted(canonical(data))
    assert same_job(accepted.job, again.job), data.hex()
    assert accepted.id == plain.id == again.id
    assert accepted.job.network.hidden_size == plain.hidden_size
    assert len(accepted.job.words) == len(plain.words)
    return "accepted"


def test_an_accepted_mutated_message_gets_the_reply_of_the_request_that_it_is(tables, report):
    """The reply, computed or cached, has the bits of the request that protobuf reads."""
    engine = verified_engine(tables)
    judge, replies = Judge(tables, engine=engine), ReplyCache(max_bytes=1 << 20)
    # Few, so that requests repeat and use the caches.
    mutator = Mutator(SEED + 1, digest_of=judge.digest_of, corpus_size=10)
    counts, began_s = collections.Counter(), time.monotonic()
    for _ in range(extent.cases(0.1)):
        data = mutator.message()
        accepted, kept = judge.accepted(data), replies.get(data)
        if isinstance(accepted, RequestError):
            assert kept is None, data.hex()
            continue
        counts["answered"] += 1
        reply = judge.reply(accepted, fingerprint="f")
        if reply is None:
            counts["too large"] += 1
            continue
        plain = without_timing(reply)
        assert plain == without_timing(judge.reply(judge.accepted(canonical(data)), fingerprint="f")), (
            data.hex()
        )
        _check_shape(pb.ForwardReply.FromString(reply), accepted)
        if kept is not None:
            counts["kept"] += 1
            assert without_timing(kept) == plain, data.hex()
        replies.put(data, reply, id_field=encode_id(accepted.id))
    report(**counts, seconds=time.monotonic() - began_s)
    assert counts["kept"] > counts["answered"] / 10


def _check_shape(reply, accepted):
    """The fields of a reply match its request."""
    job, (*places, size) = accepted.job, reply.shape
    assert (tuple(places), size) == (job.places, job.network.output_size)
    assert list(reply.lengths) == job.words.lengths.tolist()
    assert reply.id == accepted.id
    if reply.index:
        assert len(reply.index) == math.prod(places)
        assert 0 <= min(reply.index) <= max(reply.index) < len(reply.values) // size
    else:
        assert len(reply.values) == math.prod(places) * size
    assert reply.HasField("final_state") == job.return_final_state
