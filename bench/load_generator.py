"""The load tester's generator against a bare grpc.aio loop, both with one echo server.

The bare loop only counts answers: it has no intended times, no digest of the answer, no record. Each round
runs one after the other.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

import grpc.aio
from echo import SERVICE, one_reply, open_channel, request_of
from rich.table import Table
from servers import server_process
from unrolled.v1 import forward_pb2 as pb
from unrolled_loadtest.echo_server import echo_server
from unrolled_loadtest.results.record import Transport
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.distributions import parse_distribution
from unrolled_loadtest.workload.plan import ClosedLoop, Plan, RequestMix
from unrolled_loadtest.workload.requests import make_workload
from workloads import Workload

CONCURRENCY = 32
ROUND_S = 3.0
WARMUP_S = 0.5
MIN_ROUNDS = 3


@dataclass(slots=True, kw_only=True)
class _Bare:
    """Counts a bare loop's answers, without its warm-up."""

    end_s: float
    count: int = 0

    def is_over(self) -> bool:
        """Counts an answer; returns whether it was the last one."""
        now_s = time.monotonic()
        self.count += self.end_s - ROUND_S <= now_s < self.end_s
        return now_s >= self.end_s


async def _bare_unary(channel: grpc.aio.Channel, requests: Sequence[bytes], bare: _Bare) -> None:
    call = channel.unary_unary(f"{SERVICE}/Forward")

    async def caller(first: int) -> None:
        number = first
        while True:
            await call(requests[number % len(requests)])
            number += CONCURRENCY
            if bare.is_over():
                return

    await asyncio.gather(*map(caller, range(CONCURRENCY)))


async def _bare_stream(channel: grpc.aio.Channel, requests: Sequence[bytes], bare: _Bare) -> None:
    window = asyncio.Semaphore(CONCURRENCY)
    name = pb.ForwardRequest(id="00000000").SerializeToString()  # as long as the generator's, for the server

    async def send() -> AsyncIterator[bytes]:
        number = 0
        while time.monotonic() < bare.end_s:
            await window.acquire()
            yield requests[number % len(requests)] + name
            number += 1

    async for _ in channel.stream_stream(f"{SERVICE}/ForwardStream")(send()):
        window.release()
        bare.is_over()


_BARE = {"unary": _bare_unary, "stream": _bare_stream}


async def _bare_rate(target: str, requests: Sequence[bytes], transport: Transport) -> float:
    channel = await open_channel(target)
    bare = _Bare(end_s=time.monotonic() + WARMUP_S + ROUND_S)
    await _BARE[transport](channel, requests, bare)
    await channel.close()
    return bare.count / ROUND_S


def _plan(target: str, transport: Transport) -> Plan:
    one, few = (parse_distribution(text, name="number") for text in ("2", "3"))
    return Plan(
        target=target,
        request_mix=RequestMix(words_per_request=few, hidden_size=one, seed=one),
        load=ClosedLoop(concurrency=CONCURRENCY, duration_s=ROUND_S),
        transport=transport,
        warmup_s=WARMUP_S,
    )


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, with the reply to S."""
    small = next((workload for workload in workloads if workload.name == "S"), None)
    if small is None:
        return
    with server_process("127.0.0.1:0") as ours:
        reply = asyncio.run(_reply(ours, request_of(small)))
    columns = ("bare loop, answers/s", "generator, answers/s", "generator / bare loop", "its core")
    table = Table("", *columns, title=f"The load tester's generator, one process, {CONCURRENCY} at a time")
    with echo_server(reply) as target:
        for transport in ("unary", "stream"):
            table.add_row(transport, *_compare(_plan(target, transport), budget_s=budget_s))
    yield table


async def _reply(address: str, request: bytes) -> bytes:
    channel = await open_channel(address)
    reply = await one_reply(channel, request)
    await channel.close()
    return reply


def _compare(plan: Plan, *, budget_s: float) -> Sequence[str]:
    requests = make_workload(plan.request_mix, seed=plan.seed).data
    bare, generated, busy = [], [], []
    end = time.monotonic() + budget_s
    while time.monotonic() < end or len(bare) < MIN_ROUNDS:
        bare.append(asyncio.run(_bare_rate(plan.target, requests, plan.transport)))
        record = run(plan)
        generated.append(record.achieved_per_s)
        busy.append(record.generator.busy)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(generated, bare, strict=True))
    middle: Callable[[Sequence[float]], float] = statistics.median
    return f"{middle(bare):,.0f}", f"{middle(generated):,.0f}", f"{ratio:.2f}", f"{middle(busy):.2f}"
