"""Batches of waiting jobs; a failed or cancelled job does not affect its neighbours."""

import asyncio
import math
import threading
import time
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from unrolled_server.call_context import CallInfo
from unrolled_server.engine import Alphabet, Answer, Engine, Job, NetworkSpec, StoppedError
from unrolled_server.errors import ComputeError, ExpiredError
from unrolled_server.scheduling.compute_thread import MAX_BATCH_S, ComputeThread
from unrolled_server.scheduling.cost_model import CostModel

from tests.support.gated_engine import BROKEN_SEED, GatedEngine
from tests.support.scrapes import samples_of, value

WORDS = Alphabet.of("ab").encode(["ab", "b"])


def a_job(seed=0, hidden_size=3):
    return Job(network=NetworkSpec(symbol_count=2, hidden_size=hidden_size, seed=seed), words=WORDS)


class ValuesEncoder:
    def start(self, job, *, id_field):
        return self

    def finish(self, answer, *, queue_s, compute_s):
        assert queue_s >= 0
        assert compute_s >= 0
        return answer.values.tobytes()


async def submit(thread, job, *, client="a", left_s=math.inf):
    """Submits a job as a unary call does."""
    call = CallInfo(client=client, deadline_s=time.monotonic() + left_s)
    reply = thread.submit(thread.estimate(job), call, id_field=b"")
    return reply if isinstance(reply, bytes) else await reply


def within_loop(scenario):
    """Runs `scenario(thread, engine)` on a fresh loop and closes the compute thread."""

    async def main():
        engine = GatedEngine()
        thread = ComputeThread(engine, CostModel(multiplications_per_s=1e10), ValuesEncoder())
        try:
            return await asyncio.wait_for(scenario(thread, engine), 120)
        finally:
            engine.open.set()
            await thread.close()

    return asyncio.run(main())


def dropped(samples):
    """Returns how many jobs were dropped because of cancellation, and because of their deadline."""
    return tuple(
        value(samples, "unrolled_dropped_total", reason=reason) for reason in ("cancelled", "expired")
    )


def alone(job):
    return next(Engine(device="cpu").run([job])).values.tobytes()


def test_the_reply_is_the_encoded_answer():
    async def scenario(thread, engine):
        engine.open.set()
        return await submit(thread, a_job())

    assert within_loop(scenario) == alone(a_job())


def test_jobs_that_wait_while_the_thread_is_busy_form_one_batch():
    async def scenario(thread, engine):
        first = asyncio.ensure_future(submit(thread, a_job(1)))
        await asyncio.to_thread(engine.entered.wait)
        others = [asyncio.ensure_future(submit(thread, a_job(seed))) for seed in (2, 3, 4)]
        await asyncio.sleep(0)
        engine.open.set()
        replies = await asyncio.gather(first, *others)
        return replies, engine.runs

    replies, runs = within_loop(scenario)
    assert replies == [alone(a_job(seed)) for seed in (1, 2, 3, 4)]
    assert runs == [("compute", [1]), ("compute", [2, 3, 4])]


def test_a_failing_job_fails_alone_and_its_cause_is_not_sent():
    async def scenario(thread, engine):
        engine.open.set()
        jobs = [submit(thread, a_job(seed)) for seed in (1, BROKEN_SEED, 2)]
        return await asyncio.gather(*jobs, return_exceptions=True)

    good, bad, also_good = within_loop(scenario)
    assert (good, also_good) == (alone(a_job(1)), alone(a_job(2)))
    assert isinstance(bad, ComputeError)
    assert "broken" not in str(bad)


def test_a_job_whose_caller_left_is_not_computed():
    async def scenario(thread, engine):
        first = asyncio.ensure_future(submit(thread, a_job(1)))
        await asyncio.to_thread(engine.entered.wait)
        left = asyncio.ensure_future(submit(thread, a_job(2)))
        stays = asyncio.ensure_future(submit(thread, a_job(3)))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.sleep(0)
        engine.open.set()
        await asyncio.gather(first, stays)
        return engine.runs, samples_of(thread.counters.collect())

    runs, samples = within_loop(scenario)
    assert runs == [("compute", [1]), ("compute", [3])]
    assert dropped(samples) == (1, 0)


def test_a_job_whose_deadline_passed_while_it_waited_is_not_computed():
    async def scenario(thread, engine):
        first = asyncio.ensure_future(submit(thread, a_job(1)))
        await asyncio.to_thread(engine.entered.wait)
        late = asyncio.ensure_future(submit(thread, a_job(2), left_s=0))
        stays = asyncio.ensure_future(submit(thread, a_job(3)))
        await asyncio.sleep(0)
        engine.open.set()
        await asyncio.gather(first, stays)
        with pytest.raises(ExpiredError, match="the deadline passed before the reply was computed"):
            await late
        return engine.runs, samples_of(thread.counters.collect())

    runs, samples = within_loop(scenario)
    assert runs == [("compute", [1]), ("compute", [3])]
    assert dropped(samples) == (0, 1)


@pytest.mark.parametrize(("leaves", "counts"), [(True, (1, 0)), (False, (0, 1))])
def test_a_running_job_ends_when_its_caller_leaves_or_its_deadline_passes(leaves, counts):
    large = replace(a_job(hidden_size=512), words=Alphabet.of("ab").encode(["ab" * 10_000]))
    started, interrupted, results = threading.Event(), threading.Event(), []

    class InterruptedEngine(Engine):
        def run(self, jobs, *, is_wanted, stops):
            assert is_wanted(0)
            started.set()
            assert interrupted.wait(120)
            if not leaves:
                stops[0].deadline_s = 0.0
            results.extend(super().run(jobs, stops=stops))
            yield results[0]

    async def scenario():
        engine = InterruptedEngine(device="cpu")
        thread = ComputeThread(engine, CostModel(multiplications_per_s=1e10), ValuesEncoder())
        running = asyncio.ensure_future(submit(thread, large))
        await asyncio.to_thread(started.wait)
        if leaves:
            running.cancel()
        error = (await asyncio.gather(asyncio.to_thread(interrupted.set), running, return_exceptions=True))[1]
        await thread.close()
        return error, samples_of(thread.counters.collect())

    error, samples = asyncio.run(scenario())
    assert isinstance(results[0], StoppedError)
    assert isinstance(error, asyncio.CancelledError if leaves else ExpiredError)
    assert dropped(samples) == counts


@pytest.mark.parametrize(
    ("multiplications_per_s", "batches", "learned_s"),
    [(1e10, [[1], [2, 3]], [0, 60]), (1e3, [[1], [2], [3]], [0, 0])],
)
def test_a_stopped_job_counts_if_it_took_longer_than_estimated(
    monkeypatch, multiplications_per_s, batches, learned_s
):
    now_s, observed = [time.monotonic()], []

    class StoppedEngine(GatedEngine):
        def run(self, jobs, *, is_wanted, stops):
            results = super().run(jobs, is_wanted=is_wanted, stops=stops)
            for result, stop in zip(results, stops, strict=True):
                is_late = stop.deadline_s < math.inf
                now_s[0] += 60 if is_late else 0
                yield StoppedError() if is_late else result

    async def scenario():
        engine, cost_model = StoppedEngine(), CostModel(multiplications_per_s=multiplications_per_s)
        cost_model.observe = lambda _, *, taken_s: observed.append(taken_s)
        thread = ComputeThread(engine, cost_model, ValuesEncoder())
        first = asyncio.ensure_future(submit(thread, a_job(1)))
        await asyncio.to_thread(engine.entered.wait)
        late = asyncio.ensure_future(submit(thread, a_job(2), left_s=30))
        after = asyncio.ensure_future(submit(thread, a_job(3)))
        await asyncio.sleep(0)
        engine.open.set()
        await asyncio.gather(first, after)
        with pytest.raises(ExpiredError):
            await late
        await thread.close()
        return engine.runs

    clock = SimpleNamespace(monotonic=lambda: now_s[0])
    monkeypatch.setattr("unrolled_server.scheduling.compute_thread.time", clock)
    assert [seeds for _, seeds in asyncio.run(scenario())] == batches
    assert observed == pytest.approx(learned_s)


def test_a_compute_thread_survives_a_batch_of_cancelled_jobs():
    async def scenario(thread, engine):
        engine.open.set()
        with pytest.raises(ExpiredError):
            await submit(thread, a_job(1), left_s=0)
        return await submit(thread, a_job(2))

    assert within_loop(scenario) == alone(a_job(2))


def test_the_estimated_wait_is_0_when_idle_and_else_the_work_ahead():
    large = a_job(hidden_size=1_000)

    async def scenario(thread, engine):
        work = thread.estimate(large)
        idle_s = thread.wait_s("a", work)
        jobs = [asyncio.ensure_future(submit(thread, large))]
        await asyncio.to_thread(engine.entered.wait)
        jobs += [asyncio.ensure_future(submit(thread, large)) for _ in range(4)]
        await asyncio.sleep(0)
        own_s, others_s, least_s = thread.wait_s("a", work), thread.wait_s("b", work), thread.min_wait_s("b")
        engine.open.set()
        await asyncio.gather(*jobs)
        return work.cost_s, idle_s, own_s, others_s, least_s

    cost_s, idle_s, own_s, others_s, least_s = within_loop(scenario)
    assert idle_s == 0
    assert own_s >= 3 * cost_s
    assert others_s <= 2 * cost_s + MAX_BATCH_S  # later jobs may join its batch
    assert least_s <= cost_s


def test_small_cached_work_is_answered_on_the_loop_and_all_else_in_the_thread():
    async def scenario(thread, engine):
        engine.open.set()
        await submit(thread, a_job(1))
        while not thread.is_idle:  # noqa: ASYNC110 - the thread raises no event
            await asyncio.sleep(0)
        await submit(thread, a_job(1))
        await submit(thread, a_job(2))
        return [name for name, _ in engine.runs]

    assert within_loop(scenario) == ["compute", "MainThread", "compute"]


@pytest.mark.parametrize(("device", "thread"), [("cpu", "MainThread"), ("cuda", "compute")])
def test_new_small_work_is_answered_on_the_loop_only_on_a_cpu(device, thread):
    async def main():
        engine = GatedEngine()
        engine.device = device
        engine.open.set()
        compute_thread = ComputeThread(engine, CostModel(multiplications_per_s=1e11), ValuesEncoder())
        await submit(compute_thread, a_job())
        await compute_thread.close()
        return [name for name, _ in engine.runs]

    assert asyncio.run(main()) == [thread]


def test_a_batch_counts_its_own_rows_and_not_those_of_work_on_the_loop():
    async def scenario(_thread, engine):
        engine.open.set()
        thread = ComputeThread(engine, CostModel(multiplications_per_s=1e11), ValuesEncoder())
        await submit(thread, a_job(1))
        await submit(thread, a_job(2, hidden_size=2_000))
        await thread.close()
        ran = [name for name, _ in engine.runs]
        return ran, value(samples_of(thread.counters.collect()), "unrolled_batch_rows_sum")

    assert within_loop(scenario) == (["MainThread", "compute"], 3)


def test_close_finishes_accepted_jobs():
    async def main():
        engine = GatedEngine()
        engine.open.set()
        thread = ComputeThread(engine, CostModel(multiplications_per_s=1e10), ValuesEncoder())
        waiting = [asyncio.ensure_future(submit(thread, a_job(seed))) for seed in range(5)]
        await asyncio.sleep(0)
        await thread.close()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == [alone(a_job(seed)) for seed in range(5)]


@pytest.mark.parametrize("count", [1, 7])
def test_an_answer_is_an_array_of_the_engine(count):
    values = [answer.values for answer in Engine(device="cpu").run([a_job()] * count)]
    assert isinstance(next(Engine(device="cpu").run([a_job()])), Answer)
    assert all(np.array_equal(value, values[0]) for value in values)


def test_an_idle_thread_refers_to_no_job():
    """A job may refer to the memory of its reply."""

    async def scenario(compute_thread, engine):
        engine.open.set()
        job = replace(a_job(), new_values=lambda shape, *_: np.empty(shape, np.float32))
        kept = weakref.ref(job.new_values)
        await submit(compute_thread, job)
        del job
        while not compute_thread.is_idle:  # noqa: ASYNC110 - nothing else says that it is
            await asyncio.sleep(0)
        return kept()

    assert within_loop(scenario) is None
