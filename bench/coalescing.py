"""Compares merged calls of thousands of coroutines with calls that are not merged.

The baseline is a bare grpc.aio client and echo server, at its best concurrency. Ours is what a user writes:
`asyncio.gather` over `AsyncClient.forward`, every call with arguments and a result.
"""

import asyncio
import random
from collections.abc import Iterator, Sequence

import grpc.aio
from echo import REQUESTS as ECHO_CALLS
from echo import ask_unary, one_reply, open_channel, request_of
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from unrolled_client import AsyncClient
from unrolled_loadtest.echo_server import echo_server
from workloads import Workload

CALLERS = 5_000
ECHO_CONCURRENCY = 32


def own_words(workload: Workload) -> list[list[str]]:
    """Returns different words for every caller, of the workload's size and alphabet."""
    draw = random.Random(7)
    return [
        ["".join(draw.choices(workload.alphabet, k=len(word))) for word in workload.words]
        for _ in range(CALLERS)
    ]


async def call_all(client: AsyncClient, workload: Workload, callers: Sequence[Sequence[str]]) -> None:
    """Makes the calls of all callers at once."""
    calls = [
        client.forward(
            words, hidden_size=workload.hidden_size, seed=workload.seed, alphabet=workload.alphabet
        )
        for words in callers
    ]
    await asyncio.gather(*calls)


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, for S only."""
    for workload in workloads:
        if workload.name != "S":
            continue
        with server_process("127.0.0.1:0") as ours, asyncio.Runner() as runner:
            channel = runner.run(open_channel(ours))
            reply = runner.run(one_reply(channel, request_of(workload)))
            runner.run(channel.close())
            with echo_server(reply) as echo:
                echo_channel = runner.run(open_channel(echo))
                client = AsyncClient(ours)
                yield _compare(runner, echo=echo_channel, client=client, workload=workload, budget_s=budget_s)
                runner.run(client.close())
                runner.run(echo_channel.close())


def _compare(
    runner: asyncio.Runner,
    *,
    echo: grpc.aio.Channel,
    client: AsyncClient,
    workload: Workload,
    budget_s: float,
) -> Table:
    title = f"{CALLERS:,} callers at once, merged"
    table = Table("", "echo, calls/s", "ours, calls/s", "ours / echo", title=title)
    request = request_of(workload)

    def ask_echo() -> None:
        runner.run(ask_unary(echo, request, concurrency=ECHO_CONCURRENCY))

    for name, callers in (("same words", [workload.words] * CALLERS), ("own words", own_words(workload))):

        def ask_ours(callers: Sequence[Sequence[str]] = callers) -> None:
            runner.run(call_all(client, workload, callers))

        taken = measure({"echo": Way(call=ask_echo), "ours": Way(call=ask_ours)}, budget_s=budget_s)
        rates = [ECHO_CALLS / taken["echo"].ms * 1e3, CALLERS / taken["ours"].ms * 1e3]
        ratio = taken["ours"].times_as_fast_as(taken["echo"]) * CALLERS / ECHO_CALLS
        table.add_row(name, *(f"{rate:,.0f}" for rate in rates), f"{ratio:.1f}")
    return table
