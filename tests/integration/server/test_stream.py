"""Streams and overload through plain gRPC; the server runs in the test's own event loop."""

import asyncio
from contextlib import asynccontextmanager
from functools import partial

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.observability.counters import RequestCounters
from unrolled_server.observability.request_observer import RequestObserver
from unrolled_server.rpc import service
from unrolled_server.rpc.pipeline import ForwardReplyEncoder, RequestPipeline
from unrolled_server.rpc.reply_cache import ReplyCache
from unrolled_server.rpc.service import SERVICE_NAME, ForwardService
from unrolled_server.scheduling.admission import Admission
from unrolled_server.scheduling.compute_thread import ComputeThread
from unrolled_server.scheduling.cost_model import CostModel
from unrolled_server.scheduling.loop_lag import EventLoopLag
from unrolled_server.scheduling.slow_consumers import SlowConsumers
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator

from tests.support.gated_engine import BROKEN_SEED, GatedEngine
from tests.support.scrapes import samples_of, value

FORWARD = f"/{SERVICE_NAME}/Forward"
FORWARD_STREAM = f"/{SERVICE_NAME}/ForwardStream"
MIB = 2**20
MULTIPLICATIONS_PER_S = 1e10


class WatchedAdmission(Admission):
    """Records the largest number of bytes that it held."""

    peak_bytes = 0

    def admit(self, call, **sizes):
        reservation = super().admit(call, **sizes)
        self.peak_bytes = max(self.peak_bytes, self.held_bytes)
        return reservation


class RunningService:
    """A service on a loopback port, its components, and a channel to it."""

    def __init__(self, *, max_stream_bytes=16 * MIB, max_bytes=256 * MIB, max_multiplications=10**12):
        self.engine = GatedEngine()
        cost = CostModel(multiplications_per_s=MULTIPLICATIONS_PER_S)
        encoder = ForwardReplyEncoder(fingerprint="f")
        self.compute_thread = ComputeThread(self.engine, cost, encoder)
        self.admission = WatchedAdmission(max_bytes=max_bytes, max_multiplications=max_multiplications)
        self.counters = RequestCounters()
        pipeline = RequestPipeline(
            validator=RequestValidator(Settings().limits()),
            admission=self.admission,
            compute_thread=self.compute_thread,
            cache=ReplyCache(max_bytes=MIB),
            lag=EventLoopLag(),
            observer=RequestObserver(self.counters),
        )
        self.service = ForwardService(
            pipeline,
            slow_consumers=SlowConsumers(self.admission, send_timeout_s=60),
            max_stream_bytes=max_stream_bytes,
            info=pb.GetServerInfoReply(),
        )

    def forward(self, request):
        return self.channel.unary_unary(FORWARD, response_deserializer=pb.ForwardReply.FromString)(request)

    def info(self):
        return self.channel.unary_unary(f"/{SERVICE_NAME}/GetServerInfo")(b"")

    def stream(self):
        return self.channel.stream_stream(FORWARD_STREAM, response_deserializer=pb.ForwardReply.FromString)()


@asynccontextmanager
async def opened(running):
    server = grpc.aio.server()
    running.service.add_to(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    options = [("grpc.max_receive_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as running.channel:
            yield running
    finally:
        running.engine.open.set()
        await server.stop(None)
        await running.compute_thread.close()


def within_loop(scenario, **options):
    """Runs `scenario(running)`, then checks that every reservation was released."""

    async def main():
        running = RunningService(**options)
        async with opened(running):
            result = await asyncio.wait_for(scenario(running), 120)
        admission = running.admission
        held = (admission.held_bytes, admission.held_multiplications, admission.reservation_count)
        assert (*held, admission.shared_words_bytes) == (0, 0, 0, 0)
        return result

    return asyncio.run(main())


async def until(is_so):
    while not is_so():  # noqa: ASYNC110 - counters raise no events
        await asyncio.sleep(0)


def a_request(seed=0, name="", **changes):
    fields = {"words": ["a"], "hidden_size": 1, "seed": seed, "id": name, **changes}
    return pb.ForwardRequest(**fields).SerializeToString()


async def send_all(stream, requests):
    for request in requests:
        await stream.write(request)
    await stream.done_writing()


BAD_REQUESTS = {
    "a wrong value": a_request(hidden_size=-1, name="n"),
    "two wrong values": a_request(hidden_size=0, words=[], name="n"),
    "an option that is not done": a_request(output=99, name="n"),
    "an unknown field": b"\xf8\x06\x01\x5a\x01n",
    "a word that is not UTF-8": b"\x0a\x01\xff\x5a\x01n",
    "no message": b"\x0a\x05a",
    "nothing": b"",
    "an id that is too long": a_request(name="n" * 200),
    "a failing engine": a_request(BROKEN_SEED, name="n"),
}


@pytest.mark.parametrize("kind", BAD_REQUESTS)
def test_a_bad_request_gets_the_status_of_a_unary_call_and_the_stream_continues(kind):
    request = BAD_REQUESTS[kind]

    async def scenario(running):
        running.engine.open.set()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.forward(request)
        stream = running.stream()
        await stream.write(request)
        bad = await stream.read()
        await send_all(stream, [a_request(name="good")])
        return caught.value, bad, await stream.read(), await stream.read()

    unary, bad, good, end = within_loop(scenario)
    details = dict(unary.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(details)
    assert bad.error.code == unary.code().value[0] == status.code
    assert bad.error.message == unary.details() == status.message
    assert list(bad.error.details) == list(status.details)
    assert not bad.shape
    assert bad.id == {"no message": "", "nothing": "", "an id that is too long": "n" * 200}.get(kind, "n")
    assert (good.id, good.shape, good.HasField("error")) == ("good", [1, 1, 1], False)
    assert end is grpc.aio.EOF


def test_replies_come_in_completion_order_with_their_ids():
    async def scenario(running):
        stream = running.stream()
        await send_all(stream, [a_request(0, "slow"), a_request(0, "bad", words=[])])
        first = (await stream.read()).id
        running.engine.open.set()
        return first, (await stream.read()).id, await stream.read()

    assert within_loop(scenario) == ("bad", "slow", grpc.aio.EOF)


def test_a_half_closed_stream_gets_every_reply_and_ends_with_ok():
    async def scenario(running):
        running.engine.open.set()
        stream = running.stream()
        sending = asyncio.ensure_future(
            send_all(stream, [a_request(at % 5, str(at), words=["a"] * (at % 7 + 1)) for at in range(300)])
        )
        replies = [reply async for reply in stream]
        await sending
        return replies, await stream.code()

    replies, code = within_loop(scenario)
    assert code is grpc.StatusCode.OK
    assert sorted(int(reply.id) for reply in replies) == list(range(300))
    assert all(reply.shape[0] == int(reply.id) % 7 + 1 for reply in replies)


@pytest.mark.parametrize("is_stream", [True, False])
def test_requests_of_a_cancelled_caller_are_not_computed(is_stream):
    async def scenario(running):
        seeds = range(3)
        calls = [running.stream()] if is_stream else []
        for count, seed in enumerate(seeds, 1):
            if is_stream:
                await calls[0].write(a_request(seed))
            else:
                calls.append(asyncio.ensure_future(running.forward(a_request(seed))))
            await until(lambda count=count: running.admission.reservation_count == count)
            await asyncio.to_thread(running.engine.entered.wait)  # the first alone is on its way
        for call in calls:
            call.cancel()
        await until(lambda: running.admission.reservation_count == 0)
        running.engine.open.set()
        await running.compute_thread.close()
        return running.engine.seeds

    assert within_loop(scenario) == []


def test_a_reader_that_pauses_holds_bounded_bytes_and_loses_no_reply():
    async def scenario(running):
        running.engine.open.set()
        stream = running.stream()
        megabyte = {"words": ["a" * 32] * 32, "hidden_size": 256}
        sending = asyncio.ensure_future(
            send_all(stream, [a_request(at % 2, str(at), **megabyte) for at in range(100)])
        )
        await until(lambda: running.admission.held_bytes > 3 * MIB)  # full: one more does not fit
        ids = [reply.id async for reply in stream]
        await sending
        return ids, running.admission.peak_bytes

    ids, peak_bytes = within_loop(scenario, max_stream_bytes=4 * MIB)
    assert peak_bytes <= 4 * MIB
    assert sorted(map(int, ids)) == list(range(100))


@pytest.mark.long
def test_unread_cached_replies_are_bounded():
    async def scenario(running):
        running.engine.open.set()
        stream = running.stream()
        request = a_request(words=["a" * 20], hidden_size=48)
        for _ in range(3):  # computed, then known, then kept
            await running.forward(request)
        sending = asyncio.ensure_future(send_all(stream, [request] * 6_000))
        await until(lambda: running.admission.held_bytes > MIB // 2 - 5_000)
        peak_bytes = 0
        values = set()
        async for reply in stream:
            peak_bytes = max(peak_bytes, running.admission.held_bytes)
            values.add(tuple(reply.values))
        await sending
        return len(values), peak_bytes

    value_count, peak_bytes = within_loop(scenario, max_stream_bytes=MIB // 2)
    assert value_count == 1
    assert peak_bytes <= MIB // 2


def test_unread_refusals_are_bounded():
    async def scenario(running):
        stream = running.stream()
        long_id = "n" * 100_000
        sending = asyncio.ensure_future(send_all(stream, [a_request(name=long_id)] * 400))
        await until(lambda: running.admission.held_bytes > MIB - 200_000)
        count = 0
        async for _ in stream:
            assert running.admission.held_bytes <= MIB
            count += 1
        await sending
        return count

    assert within_loop(scenario, max_stream_bytes=MIB) == 400


def test_overload_is_refused_at_once_with_a_retry_delay():
    async def scenario(running):
        first, second = 0, 1
        held = asyncio.ensure_future(running.forward(a_request(first)))
        await until(lambda: running.admission.reservation_count == 1)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.forward(a_request(second))
        stream = running.stream()
        await stream.write(a_request(second, "s"))
        in_band = await stream.read()
        running.engine.open.set()
        await held
        await until(lambda: running.admission.held_multiplications == 0)
        await send_all(stream, [a_request(second, "again")])
        return caught.value, in_band, await stream.read()

    unary, in_band, again = within_loop(scenario, max_multiplications=1)
    metadata = dict(unary.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    retry = error_details_pb2.RetryInfo()
    assert unary.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status.details[0].Unpack(retry)
    assert retry.retry_delay.ToMilliseconds() == int(metadata["grpc-retry-pushback-ms"]) > 0
    assert (in_band.id, in_band.error.code) == ("s", grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert in_band.error.details[0].Unpack(error_details_pb2.RetryInfo())
    assert (again.id, again.HasField("error")) == ("again", False)


def values_of(reply):
    assert not reply.HasField("error"), reply.error
    return reply.id, list(reply.shape), list(reply.values)


def test_requests_of_a_stream_may_reuse_the_words_of_the_latest_request_with_words():
    async def scenario(running):
        running.engine.open.set()
        stream, seed = running.stream(), 1
        same = {"words": (), "same_words": True, "hidden_size": 3}
        requests = [
            a_request(0, "0", words=["ab", "b"]),
            a_request(seed, "1", **same),
            a_request(0, "2", words=["ba"], alphabet="cab"),
            a_request(seed, "3", **same),
        ]
        await send_all(stream, requests)
        shared = {reply.id: values_of(reply) for reply in [await stream.read() for _ in requests]}
        whole = [
            values_of(await running.forward(a_request(seed, "1", words=["ab", "b"], hidden_size=3))),
            values_of(
                await running.forward(a_request(seed, "3", words=["ba"], alphabet="cab", hidden_size=3))
            ),
        ]
        return [shared["1"], shared["3"]], whole

    shared, whole = within_loop(scenario)
    assert shared == whole


def test_shared_words_are_those_of_the_same_stream_and_the_latest_request():
    """Equal bytes then mean different requests, so their replies are not cached."""

    async def scenario(running):
        running.engine.open.set()
        shapes = []
        for words in (["ab"], ["abc", "a"], ["ab"]):
            stream = running.stream()
            await stream.write(a_request(words=words))
            await stream.read()
            for _ in range(2):
                await stream.write(a_request(words=(), same_words=True))
                shapes.append(list((await stream.read()).shape))
            await stream.done_writing()
        return shapes

    assert within_loop(scenario) == [[1, 2, 1]] * 2 + [[2, 3, 1]] * 2 + [[1, 2, 1]] * 2


def test_missing_shared_words_are_an_error_that_asks_for_them():
    """In a unary call, first on a stream, together with words, and when memory for them is short."""

    async def scenario(running):
        running.engine.open.set()
        same = a_request(words=(), same_words=True)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.forward(same)
        stream = running.stream()
        requests = [same, a_request(words=["ab" * 20]), same, a_request(words=["b"], same_words=True)]
        replies = []
        for request in requests:
            await stream.write(request)
            replies.append(await stream.read())
        await stream.done_writing()
        return caught.value.details(), [reply.error.message for reply in replies]

    unary, (first, answered, too_large, both) = within_loop(scenario, max_bytes=100)
    assert "this is no stream" in unary
    assert "no earlier request of the stream had any" in first
    assert not answered
    assert "memory is short; send the words with this request" in too_large
    assert "leave them out" in both


@pytest.mark.parametrize("limit", ["max_stream_bytes", "max_bytes", "max_multiplications"])
def test_a_single_request_above_a_load_limit_is_answered(limit):
    async def scenario(running):
        running.engine.open.set()
        stream = running.stream()
        await send_all(stream, [a_request(name="alone")])
        return (await stream.read()).HasField("error"), (await running.forward(a_request())).shape

    assert within_loop(scenario, **{limit: 1}) == (False, [1, 1, 1])


def test_a_draining_server_answers_accepted_requests_and_then_ends_the_stream():
    async def scenario(running):
        first, second = 0, 1
        stream = running.stream()
        await stream.write(a_request(first, "taken"))
        await until(lambda: running.admission.reservation_count == 1)
        running.service.drain(within_s=60)
        await stream.write(a_request(second, "still in time"))
        await until(lambda: running.admission.reservation_count == 2)
        running.engine.open.set()
        replies = [await stream.read(), await stream.read()]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        return [reply.id for reply in replies], caught.value.code()

    assert within_loop(scenario) == (["taken", "still in time"], grpc.StatusCode.UNAVAILABLE)


def test_a_call_that_arrives_during_a_drain_waits_and_ends_as_unavailable(monkeypatch):
    monkeypatch.setattr(service, "MAX_DELAY_S", 60)

    async def scenario(running):
        taken = asyncio.ensure_future(running.forward(a_request(0)))
        await until(lambda: running.admission.reservation_count == 1)
        running.service.drain(within_s=60)
        late = asyncio.ensure_future(running.forward(a_request(1)))
        await running.info()  # sent later, so the call before it has arrived
        running.engine.open.set()
        reply = await taken
        held = not late.done()
        running.service.refuse_delayed()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await late
        return reply.shape, held, caught.value.code()

    assert within_loop(scenario) == ([1, 1, 1], True, grpc.StatusCode.UNAVAILABLE)


def test_a_stream_that_opens_during_a_drain_ends_as_unavailable():
    async def scenario(running):
        running.service.drain(within_s=0)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stream().read()
        return caught.value.code()

    assert within_loop(scenario) is grpc.StatusCode.UNAVAILABLE


def test_requests_whose_caller_leaves_end_as_cancelled_and_are_not_computed():
    async def scenario(running):
        busy, unary, streamed = range(3)
        first = running.forward(a_request(busy))
        await asyncio.to_thread(running.engine.entered.wait)
        call, stream = running.forward(a_request(unary)), running.stream()
        await stream.write(a_request(streamed))
        await until(lambda: running.admission.reservation_count == 3)
        call.cancel()
        stream.cancel()
        await until(lambda: running.counters.methods["Forward"].failed["CANCELLED"] == 1)
        await until(lambda: running.counters.methods["ForwardStream"].failed["CANCELLED"] == 1)
        await until(lambda: running.counters.streams["CANCELLED"] == 1)
        running.engine.open.set()
        await first
        cancelled = partial(value, name="unrolled_dropped_total", reason="cancelled")
        # The thread counts them when it comes to them.
        await until(lambda: cancelled(samples_of(running.compute_thread.counters.collect())) == 2)
        return running.engine.seeds, running.counters.methods

    seeds, methods = within_loop(scenario)
    assert (len(seeds), methods["Forward"].answered) == (1, 1)
