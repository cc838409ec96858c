"""Merging, with a wire whose every request the test sees and answers."""

import asyncio
from contextlib import suppress

import grpc
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import (
    ClosedError,
    DeadlineError,
    FieldViolation,
    InvalidRequestError,
    OverloadedError,
    ProtocolError,
    ServerError,
    UnavailableError,
)
from unrolled_client._coalescing import MAX_CALLS, MAX_IN_FLIGHT, MAX_WORDS, Coalescer, is_mergeable
from unrolled_client._messages.decoding import decode_reply
from unrolled_client._messages.request import encode
from unrolled_client._messages.validation import check_request


class Wire:
    """A way to send: it keeps requests and timeouts, answers once `gate` is set, and counts cancellations."""

    def __init__(self, answer, *, is_open=True):
        self.answer = answer
        self.sent = []
        self.timeouts_s = []
        self.cancelled_count = 0
        self.gate = asyncio.Event()
        if is_open:
            self.gate.set()
        self.coalescer = Coalescer(self._send, target="there")

    async def _send(self, encoded, timeout_s):
        self.sent.append(pb.ForwardRequest.FromString(encoded.data))
        self.timeouts_s.append(timeout_s)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled_count += 1
            raise
        return self.answer(encoded.data)

    def ask(self, words, *, timeout_s=None, **kwargs):
        """A task that waits for the words' result."""
        return asyncio.create_task(self.coalescer.call(call_of(words, **kwargs), timeout_s=timeout_s))

    async def until_sent(self, count):
        """Returns once so many requests are under way."""
        await turns_until(lambda: len(self.sent) >= count)


async def turns_until(is_true):
    """Lets the loop turn until something holds; there is no event for it."""
    while not is_true():  # noqa: ASYNC110
        await asyncio.sleep(0)


def call_of(
    words, *, hidden_size=2, seed=0, alphabet="abcdefgh", layout="batch_first", initial_state=None, **options
):
    arguments = {"hidden_size": hidden_size, "seed": seed, "alphabet": alphabet, "layout": layout}
    return check_request(words, **arguments, options=options, initial_state=initial_state)


def refusing(reply_to, *, word, code=grpc.StatusCode.INVALID_ARGUMENT):
    """An answer that refuses requests with a certain word, and names it."""

    def answer(data):
        words = list(pb.ForwardRequest.FromString(data).words)
        if word not in words:
            return reply_to(data)
        field = f"words[{words.index(word)}]"
        violations = (FieldViolation(field=field, description=f"{field} is bad"),)
        kind = InvalidRequestError if code is grpc.StatusCode.INVALID_ARGUMENT else ServerError
        raise kind(f"{field} is bad", code=code, violations=violations)

    return answer


def raising(error):
    def answer(_data):
        raise error

    return answer


async def outcomes(tasks):
    return await asyncio.gather(*tasks, return_exceptions=True)


def test_calls_that_wait_are_one_request(reply_to):
    """Callers of one network share a request in which each word stands once."""

    async def run():
        wire = Wire(reply_to)
        await asyncio.gather(*(wire.ask(["ab", "cd"]) for _ in range(50)), wire.ask(["cd", "ef"]))
        assert [list(request.words) for request in wire.sent] == [["ab", "cd", "ef"]]

    asyncio.run(run())


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4), min_size=2))
def test_everybody_gets_what_they_would_get_alone(reply_to, callers):
    """Rows, lengths and memory equal those of a separate call, whatever else the request contains."""

    async def run():
        wire = Wire(reply_to)
        return await asyncio.gather(*(wire.ask(words) for words in callers))

    for words, result in zip(callers, asyncio.run(run()), strict=True):
        request = encode(call_of(words))
        alone = decode_reply(reply_to(request.data), request)
        assert np.array_equal(result.outputs, alone.outputs)
        assert np.array_equal(result.lengths, alone.lengths)
        assert result.words == alone.words == tuple(words)
        flags = result.outputs.flags
        assert (flags.owndata, flags.writeable, flags.c_contiguous) == (True, True, True)


def test_replies_of_distinct_rows_are_taken_apart_too(reply_to):
    """Where the merged reply sends each state once, everybody still gets their own dense rows."""
    callers = [["abcdefgh" * 12 + letter] for letter in "abcdefghijklmnop"]

    async def run():
        wire = Wire(reply_to)
        results = await asyncio.gather(*(wire.ask(words, hidden_size=128) for words in callers))
        assert [request.reply_form for request in wire.sent] == [pb.REPLY_FORM_DISTINCT]
        return results

    for words, result in zip(callers, asyncio.run(run()), strict=True):
        request = encode(call_of(words, hidden_size=128))
        assert np.array_equal(result.outputs, decode_reply(reply_to(request.data), request).outputs)


def test_pooled_calls_are_merged_too():
    """Each caller gets the vectors of its own words, in its own order."""

    def last_letters(data):
        request = pb.ForwardRequest.FromString(data)
        values = np.array([[ord(word[-1])] * 2 for word in request.words], np.float32)
        rest = pb.ForwardReply(shape=values.shape, lengths=map(len, request.words))
        return join_reply(rest, values=values)

    async def run():
        wire = Wire(last_letters)
        callers = [["ab", "c"], ["c", "ba", "c"], ["abcd"]]
        results = await asyncio.gather(*(wire.ask(words, output="last") for words in callers))
        assert [list(request.words) for request in wire.sent] == [["ab", "c", "ba", "abcd"]]
        for words, result in zip(callers, results, strict=True):
            assert result.outputs.tolist() == [[ord(word[-1])] * 2 for word in words]
            assert (result.outputs.flags.owndata, result.lengths.tolist()) == (True, list(map(len, words)))

    asyncio.run(run())


def test_an_idle_wire_is_used_at_once_and_a_busy_one_late(reply_to):
    """Calls go alone while there is room; what waits for room travels together."""

    async def run():
        wire = Wire(reply_to, is_open=False)
        first = []
        for count in range(1, MAX_IN_FLIGHT + 1):
            first.append(wire.ask(["ab"]))
            await wire.until_sent(count)
        later = [wire.ask([word]) for word in ("ab", "cd", "ef")]
        await asyncio.sleep(0)
        assert len(wire.sent) == MAX_IN_FLIGHT
        wire.gate.set()
        await asyncio.gather(*first, *later)
        assert [list(request.words) for request in wire.sent[MAX_IN_FLIGHT:]] == [["ab", "cd", "ef"]]
        assert not wire.coalescer._queues

    asyncio.run(run())


def test_only_one_network_over_one_alphabet_is_shared(reply_to):
    """Another width, seed or alphabet is another request; seeds that torch takes for one are one."""
    others = [{}, {"hidden_size": 3}, {"seed": 1}, {"alphabet": "abc"}, {"seed": 2**32}, {"seed": -(2**32)}]

    async def run():
        wire = Wire(reply_to)
        await asyncio.gather(*(wire.ask(["ab"], **other) for other in others))
        assert len(wire.sent) == 4

    asyncio.run(run())


@pytest.mark.parametrize(
    ("words", "kwargs", "is_right"),
    [
        (["ab", "c"], {}, True),
        (["ab"], {"layout": "seq_first"}, False),
        ([], {}, False),
        (["ab" * 500] * 100, {}, False),
        (["a"] * (MAX_WORDS + 1), {}, False),
        (["ab"], {"output": "max", "bidirectional": True}, True),
        (["ab"], {"return_final_state": True}, False),
        (["ab"], {"initial_state": np.zeros((1, 1, 2))}, False),
    ],
)
def test_what_may_be_merged(words, kwargs, is_right):
    """Only small calls whose words are independent; an empty call must get the server's refusal."""
    assert is_mergeable(call_of(words, **kwargs)) is is_right


@pytest.mark.parametrize(
    ("words", "hidden_size", "most"),
    [(["a"], 1, MAX_CALLS), (["a"] * 64, 1, 64), (["a" * 16], 1024, 16)],
)
def test_a_request_is_bounded(reply_to, words, hidden_size, most):
    """Callers, their words and their bytes each have a limit in one request."""

    async def run():
        wire = Wire(reply_to)
        await asyncio.gather(*(wire.ask(words, hidden_size=hidden_size) for _ in range(most + 1)))
        assert len(wire.sent) == 2

    asyncio.run(run())


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL])
def test_only_the_guilty_are_refused(reply_to, code):
    """A refused request is halved until the caller to blame is alone, and names the index of that call."""

    async def run():
        wire = Wire(refusing(reply_to, word="bad", code=code))
        calls = [wire.ask(["ab", "bad"] if at == 11 else ["ab", f"c{'d' * at}"]) for at in range(16)]
        return wire, await outcomes(calls)

    wire, results = asyncio.run(run())
    assert [at for at, result in enumerate(results) if isinstance(result, Exception)] == [11]
    assert str(results[11]) == "words[1] is bad"
    assert len(wire.sent) <= 9


def test_all_guilty_is_bounded_too(reply_to):
    """If every caller is to blame, there are less than two requests a caller."""

    async def run():
        wire = Wire(refusing(reply_to, word="bad"))
        results = await outcomes(wire.ask(["bad", "ab" * at]) for at in range(1, 17))
        assert all(isinstance(result, InvalidRequestError) for result in results)
        assert len(wire.sent) == 31

    asyncio.run(run())


@pytest.mark.parametrize(
    "error",
    [
        UnavailableError("gone", code=grpc.StatusCode.UNAVAILABLE),
        OverloadedError("full", code=grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1.0),
        InvalidRequestError(
            "hidden_size is 0",
            code=grpc.StatusCode.INVALID_ARGUMENT,
            violations=(FieldViolation(field="hidden_size", description="hidden_size is 0"),),
        ),
    ],
)
def test_what_concerns_all_is_not_sent_again(error):
    """Each caller gets the error as an object of its own, after one request."""

    async def run():
        wire = Wire(raising(error))
        results = await outcomes([wire.ask(["ab"]), wire.ask(["cd"])])
        assert len(wire.sent) == 1
        assert results[0] is not results[1]
        for result in results:
            assert (type(result), str(result)) == (type(error), str(error))
            assert (result.violations, result.retry_after_s) == (error.violations, error.retry_after_s)

    asyncio.run(run())


def test_a_wrong_reply_is_everybodys_error():
    """A reply that does not fit the merged request fails its callers, each with an error of its own."""

    async def run():
        wire = Wire(lambda _data: b"")
        results = await outcomes([wire.ask(["ab"]), wire.ask(["cd"])])
        assert [type(result) for result in results] == [ProtocolError, ProtocolError]

    asyncio.run(run())


def test_a_caller_that_leaves_takes_nobody_along(reply_to):
    """Cancelling one call leaves the request to the others."""

    async def run():
        wire = Wire(reply_to, is_open=False)
        leaving, staying = wire.ask(["ab"]), wire.ask(["cd"])
        await wire.until_sent(1)
        leaving.cancel()
        with suppress(asyncio.CancelledError):
            await leaving
        wire.gate.set()
        assert (await staying).outputs.shape == (1, 2, 2)
        assert (wire.cancelled_count, len(wire.sent)) == (0, 1)

    asyncio.run(run())


def test_a_request_that_nobody_waits_for_ends():
    """When the last caller leaves, the request is cancelled and the wire is free again."""

    async def run():
        wire = Wire(raising(AssertionError), is_open=False)
        calls = [wire.ask(["ab"]), wire.ask(["cd"])]
        await wire.until_sent(1)
        for call in calls:
            call.cancel()
        await outcomes(calls)
        await turns_until(lambda: not wire.coalescer._queues)
        assert wire.cancelled_count == 1

    asyncio.run(run())


def test_a_caller_that_left_before_it_was_sent_is_not_sent(reply_to):
    """Words of a cancelled call that still waited do not travel."""

    async def run():
        wire = Wire(reply_to, is_open=False)
        first = []
        for count in range(1, MAX_IN_FLIGHT + 1):
            first.append(wire.ask(["ab"]))
            await wire.until_sent(count)
        leaving, staying = wire.ask(["bad"]), wire.ask(["cd"])
        await asyncio.sleep(0)
        leaving.cancel()
        await outcomes([leaving])
        wire.gate.set()
        await asyncio.gather(*first, staying)
        assert list(wire.sent[-1].words) == ["cd"]

    asyncio.run(run())


def test_a_deadline_is_the_callers_own(reply_to):
    """A late answer is an error of the impatient alone; the request has the most patient one's time."""

    async def run():
        wire = Wire(reply_to, is_open=False)
        impatient, patient = wire.ask(["ab"], timeout_s=0.01), wire.ask(["cd"], timeout_s=60)
        with pytest.raises(DeadlineError, match="there gave no answer in time") as caught:
            await impatient
        assert caught.value.is_retryable
        wire.gate.set()
        assert (await patient).outputs.shape == (1, 2, 2)
        assert 0.01 < wire.timeouts_s[0] <= 60

    asyncio.run(run())


def test_without_a_deadline_the_request_has_none(reply_to):
    """One caller who waits for ever makes the request wait for ever."""

    async def run():
        wire = Wire(reply_to)
        await asyncio.gather(wire.ask(["ab"], timeout_s=60), wire.ask(["cd"]))
        assert wire.timeouts_s == [None]

    asyncio.run(run())


def test_close_answers_everybody_who_waits(reply_to):
    """Callers under way and callers still waiting get the error."""

    async def run():
        wire = Wire(reply_to, is_open=False)
        calls = [wire.ask(["ab"])]
        await wire.until_sent(1)
        calls += [wire.ask(["cd"]) for _ in range(5)]
        await asyncio.sleep(0)
        wire.coalescer.close(ClosedError("closed"))
        assert [type(result) for result in await outcomes(calls)] == [ClosedError] * 6

    asyncio.run(run())
