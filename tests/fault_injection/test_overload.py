"""An overloaded server keeps its throughput and says when to retry."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import grpc
import grpc.aio
import pytest

pytest.importorskip("wordfreq")

from google.rpc import error_details_pb2, status_pb2
from unrolled.v1 import forward_pb2 as pb
from wordfreq import top_n_list

from tests.fault_injection.extent import IS_LONG, seconds
from tests.fault_injection.loads import LETTERS, L, M, S, measure
from tests.fault_injection.server_process import ServerProcess

pytestmark = pytest.mark.faults

FORWARD = "/unrolled.v1.ForwardService/Forward"
ONE_TRY = [("grpc.enable_retries", 0), ("grpc.max_receive_message_length", -1)]


@pytest.fixture(scope="module")
def english(tmp_path_factory):
    """A file of English words."""
    words = [word for word in top_n_list("en", 30_000) if set(word) <= set(LETTERS)]
    file = tmp_path_factory.mktemp("words") / "english.txt"
    file.write_text("\n".join(words))
    return file


def test_at_three_times_the_capacity_goodput_and_latency_stay(report, english):
    """Requests of L with new states, from callers whose deadline is 2.5 times the usual p99."""
    load = (*L, "--file", str(english))
    at_random = (*load, "--arrivals", "poisson", "--rate")
    with ServerProcess("--state-memory-mb", "64") as server:
        address = server.address
        capacity = measure(address, *load, "--concurrency", "8", duration_s=seconds(0.5))
        calm_rate = f"{0.7 * capacity.answered_per_s:.1f}"
        calm = measure(address, *at_random, calm_rate, duration_s=seconds(0.5))
        before = server.footprint()
        flood = (f"{3 * capacity.answered_per_s:.1f}", "--timeout-s", f"{2.5 * calm.p99_s:.3f}")
        flooded = measure(address, *at_random, *flood, duration_s=seconds())
        growth = server.footprint().rss_mib / before.rss_mib
        after = measure(address, *load, "--concurrency", "8", duration_s=seconds(0.5))
    # Shared machines change their speed by a fifth within minutes, so the capacity is measured before and
    # after.
    capacity_per_s = (capacity.answered_per_s + after.answered_per_s) / 2
    goodput = flooded.answered_per_s / capacity_per_s
    report(
        capacity_per_s=capacity_per_s,
        goodput=goodput,
        p99_ms=flooded.p99_s * 1e3,
        p99_at_70_percent_ms=calm.p99_s * 1e3,
        resident_growth=growth,
        **flooded.errors,
    )
    assert flooded.errors["RESOURCE_EXHAUSTED"]
    assert set(flooded.errors) <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    if IS_LONG:
        assert goodput >= 0.9
        assert flooded.p99_s <= 3 * calm.p99_s
        assert growth <= 1.05


def test_a_flood_of_one_client_does_not_starve_anothers_single_calls(report, english):
    """One client sends L without end, with a long deadline; the other has a deadline of a second."""
    flood = (*L, "--file", str(english), "--concurrency", "200", "--timeout-s", "600")
    single = (*M, "--rate", "20", "--timeout-s", "1" if IS_LONG else "30")
    with (
        ServerProcess("--state-memory-mb", "256", "--max-queue-s", "600") as server,
        ThreadPoolExecutor() as pool,
    ):
        alone = measure(server.address, *single, duration_s=seconds(0.25))
        flooding = pool.submit(measure, server.address, *flood, duration_s=seconds(0.5), warmup_s=0)
        beside = measure(server.address, *single, duration_s=seconds(0.25), warmup_s=0.5)
        flooded = flooding.result()
    report(
        flood_p50_ms=flooded.record["latency"]["p50_s"] * 1e3,
        single_p50_ms=beside.record["latency"]["p50_s"] * 1e3,
        single_p99_ms=beside.p99_s * 1e3,
        single_p99_alone_ms=alone.p99_s * 1e3,
    )
    assert not beside.errors
    if IS_LONG:
        assert beside.p99_s < flooded.record["latency"]["p50_s"]


def a_request(*, word_count=300, hidden_size=512, seed=0):
    words = [LETTERS[at % 26] + LETTERS[at // 26 % 26] * 7 for at in range(word_count)]
    return pb.ForwardRequest(
        words=words, alphabet=LETTERS, hidden_size=hidden_size, seed=seed, output=pb.OUTPUT_LAST
    ).SerializeToString()


def retry_after_ms(error):
    """Returns the retry delays of a refusal: in its details, and as pushback for gRPC's own retries."""
    trailers = dict(error.trailing_metadata())
    (detail,) = status_pb2.Status.FromString(trailers["grpc-status-details-bin"]).details
    retry = error_details_pb2.RetryInfo()
    assert detail.Unpack(retry)
    return retry.retry_delay.ToMilliseconds(), int(trailers["grpc-retry-pushback-ms"])


@pytest.mark.parametrize("timeout_s", [60, 0.3])
def test_every_refusal_says_when_to_retry_and_whether_that_is_in_time(timeout_s):
    async def refusals(address):
        async with grpc.aio.insecure_channel(address, options=ONE_TRY) as channel:
            call = channel.unary_unary(FORWARD)
            calls = [call(a_request(seed=seed), timeout=timeout_s) for seed in range(200)]
            ends = await asyncio.gather(*calls, return_exceptions=True)
            return [end for end in ends if isinstance(end, grpc.aio.AioRpcError)]

    with ServerProcess("--max-queue-s", "0.1") as server:
        errors = asyncio.run(refusals(server.address))
    refused = [error for error in errors if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED]
    assert refused
    assert {error.code().name for error in errors} <= {"RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
    for error in refused:
        delay_ms, pushback_ms = retry_after_ms(error)
        assert 50 <= delay_ms <= 5_000
        assert pushback_ms == (delay_ms if delay_ms < timeout_s * 1e3 and pushback_ms > 0 else -1)
        assert timeout_s < 1 or pushback_ms > 0


@pytest.mark.skipif(not IS_LONG, reason="only measures; run by make test-faults")
@pytest.mark.parametrize(("name", "load"), [("S", S), ("M", M)])
def test_the_cost_of_a_refusal_compared_with_a_reply(report, name, load):
    """Measures the event loop's time, with equal requests in a closed loop of eight."""
    duration_s = seconds(0.25)
    closed = (*load, "--concurrency", "8")
    with ServerProcess("--reply-memory-mb", "0") as server:
        before_s = server.loop_cpu_s()
        answered = measure(server.address, *closed, duration_s=duration_s, warmup_s=0)
        answer_s = (server.loop_cpu_s() - before_s) / answered.sent_count
    with ServerProcess("--reply-memory-mb", "0", "--max-inflight-gmul", "1") as server, busy(server.address):
        before_s = server.loop_cpu_s()
        refused = measure(server.address, *closed, duration_s=duration_s, warmup_s=0)
        refusal_s = (server.loop_cpu_s() - before_s) / refused.sent_count
    refusals = refused.errors["RESOURCE_EXHAUSTED"]
    report(
        load=name,
        loop_us_of_a_refusal=refusal_s * 1e6,
        loop_us_of_an_answer=answer_s * 1e6,
        refusals_per_s_beside_busy_compute=refusals / duration_s,
        answers_per_s=answered.answered_per_s,
    )
    assert refusals > refused.sent_count / 2


@contextmanager
def busy(address):
    """Runs a caller whose requests are so large that the server admits nothing else."""

    async def ask_on():
        async with grpc.aio.insecure_channel(address, options=ONE_TRY) as channel:
            call = channel.unary_unary(FORWARD)
            for seed in range(1_000_000):
                with suppress(grpc.aio.AioRpcError):  # a small call came first
                    await call(a_request(word_count=600, hidden_size=2_000, seed=seed))

    async def until(stop):
        asking = asyncio.create_task(ask_on())
        await stop.wait()
        asking.cancel()

    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(until(stop),))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()
