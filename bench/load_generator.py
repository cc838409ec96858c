"""Compares the load tester's generator with a bare grpc.aio loop, both with one echo server, in turn.

The bare loop only waits for answers: it has no intended times, no digest of the answer, no record.
"""

import statistics
import time
from collections.abc import Iterator, Sequence

from echo import ASKS, channels_to, reply_of
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
BARE_REQUESTS = 10_000  # some three seconds
MIN_ROUNDS = 3
# As long as the generator's identifiers, which a server sends back on a stream.
IDENTIFIERS = {"unary": b"", "stream": pb.ForwardRequest(id="00000000").SerializeToString()}
TRANSPORTS: tuple[Transport, ...] = ("unary", "stream")


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, with the reply to S."""
    for workload in workloads:
        if workload.name == "S":
            with server_process("127.0.0.1:0") as ours:
                reply = reply_of(ours, workload)
            columns = ("bare loop, answers/s", "generator, answers/s", "generator / bare loop")
            title = f"the load tester's generator, one process, {CONCURRENCY} at a time"
            table = Table("", *columns, title=title)
            with echo_server(reply) as target:
                for transport in TRANSPORTS:
                    table.add_row(transport, *_compare(_plan(target, transport), budget_s=budget_s))
            yield table


def _plan(target: str, transport: Transport) -> Plan:
    one, few = (parse_distribution(text, name="number") for text in ("2", "3"))
    return Plan(
        target=target,
        request_mix=RequestMix(words_per_request=few, hidden_size=one, seed=one),
        load=ClosedLoop(concurrency=CONCURRENCY, duration_s=3.0),
        transport=transport,
        warmup_s=0.5,
    )


def _compare(plan: Plan, *, budget_s: float) -> Sequence[str]:
    data = make_workload(plan.request_mix, seed=plan.seed).data
    requests = [data[at % len(data)] + IDENTIFIERS[plan.transport] for at in range(BARE_REQUESTS)]
    bare, generated = [], []
    end = time.monotonic() + budget_s
    while time.monotonic() < end or len(bare) < MIN_ROUNDS:
        with channels_to(echo=plan.target) as (runner, channels):
            began_s = time.monotonic()
            runner.run(ASKS[plan.transport](channels["echo"], requests, concurrency=CONCURRENCY))
            bare.append(BARE_REQUESTS / (time.monotonic() - began_s))
        generated.append(run(plan).achieved_per_s)
    ratio = statistics.median(ours / theirs for ours, theirs in zip(generated, bare, strict=True))
    rates = (f"{statistics.median(taken):,.0f}" for taken in (bare, generated))
    return [*rates, f"{ratio:.2f}"]
