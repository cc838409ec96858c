"""Compares small requests with a bare grpc.aio echo server that returns the same bytes.

Servers run in separate processes; one asynchronous client calls all with the same concurrency. The ratio
shows what our server adds to a call. Merged calls are what a user writes: `asyncio.gather` over
`AsyncClient.forward`, every call with arguments and a result; they are compared with the echo at its best
concurrency.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import grpc
import grpc.aio
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from unrolled_client import AsyncClient
from unrolled_client.low_level import FORWARD, FORWARD_STREAM
from unrolled_loadtest.echo_server import echo_server
from workloads import Workload

CONCURRENCIES = (1, 8, 32)
REQUESTS = 256
MERGED_CALLERS = 5_000
# Accept replies of any size, and open a connection for each channel.
CHANNEL_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
Ask: TypeAlias = Callable[..., Awaitable[None]]
Channels: TypeAlias = dict[str, grpc.aio.Channel]


async def ask_unary(channel: grpc.aio.Channel, requests: Iterable[bytes], *, concurrency: int) -> None:
    """Sends the requests, `concurrency` at a time."""
    call, left = channel.unary_unary(FORWARD), iter(requests)

    async def caller() -> None:
        for request in left:
            await call(request)

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def ask_stream(channel: grpc.aio.Channel, requests: Sequence[bytes], *, concurrency: int) -> None:
    """Sends the requests on one stream, with `concurrency` unanswered at a time."""
    window = asyncio.Semaphore(concurrency)

    async def send() -> AsyncIterator[bytes]:
        for request in requests:
            await window.acquire()
            yield request

    async for _ in channel.stream_stream(FORWARD_STREAM)(send()):
        window.release()


ASKS: dict[str, Ask] = {"unary": ask_unary, "stream": ask_stream}


async def open_channel(address: str) -> grpc.aio.Channel:
    """Returns a connected channel of the running event loop."""
    channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
    await channel.channel_ready()
    return channel


@contextmanager
def channels_to(**addresses: str) -> Iterator[tuple[asyncio.Runner, Channels]]:
    """Yields an event loop with a connected channel to each address."""
    with asyncio.Runner() as runner:
        channels = {name: runner.run(open_channel(address)) for name, address in addresses.items()}
        yield runner, channels
        for channel in channels.values():
            runner.run(channel.close())


def reply_of(address: str, workload: Workload) -> bytes:
    """Returns our server's third reply, which a cache may answer."""
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        replies = [channel.unary_unary(FORWARD)(workload.request) for _ in range(3)]
        return replies[-1]


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields two tables, for S only: in larger requests the call is a small part of the cost."""
    for workload in workloads:
        if workload.name == "S":
            with (
                server_process("127.0.0.1:0") as ours,
                server_process("127.0.0.1:0", "--reply-memory-mb", "0") as computed,
                echo_server(reply_of(ours, workload)) as echo,
                channels_to(echo=echo, ours=ours, computed=computed) as (runner, channels),
            ):
                yield _single_calls(runner, channels, workload, budget_s=budget_s)
                yield _merged_calls(runner, channels["echo"], ours, workload, budget_s=budget_s)


def _single_calls(
    runner: asyncio.Runner, channels: Channels, workload: Workload, *, budget_s: float
) -> Table:
    columns = ("echo, requests/s", "ours, requests/s", "ours / echo", "ours without reply cache / echo")
    table = Table("", "at a time", *columns, title="a bare echo")
    requests = [workload.request] * REQUESTS
    for name, ask in ASKS.items():
        for concurrency in CONCURRENCIES:

            def way(side: str, ask: Ask = ask, concurrency: int = concurrency) -> Way:
                return Way(call=lambda: runner.run(ask(channels[side], requests, concurrency=concurrency)))

            taken = measure({side: way(side) for side in channels}, budget_s=budget_s)
            rates = [f"{REQUESTS / taken[side].ms * 1e3:,.0f}" for side in ("echo", "ours")]
            ratios = [f"{taken[side].times_as_fast_as(taken['echo']):.2f}" for side in ("ours", "computed")]
            table.add_row(name, str(concurrency), *rates, *ratios)
    return table


def _merged_calls(
    runner: asyncio.Runner, echo: grpc.aio.Channel, ours: str, workload: Workload, *, budget_s: float
) -> Table:
    title = f"{MERGED_CALLERS:,} callers at once, merged"
    table = Table("", "echo, calls/s", "ours, calls/s", "ours / echo", title=title)
    requests, client, draw = [workload.request] * REQUESTS, AsyncClient(ours), random.Random(7)
    own = [workload.with_random_letters(draw) for _ in range(MERGED_CALLERS)]
    for name, callers in (("same words", [workload] * MERGED_CALLERS), ("own words", own)):
        ways = {
            "echo": lambda: runner.run(ask_unary(echo, requests, concurrency=32)),
            "ours": lambda callers=callers: runner.run(_forward_all(client, callers)),
        }
        taken = measure({side: Way(call=call) for side, call in ways.items()}, budget_s=budget_s)
        rates = [REQUESTS / taken["echo"].ms * 1e3, MERGED_CALLERS / taken["ours"].ms * 1e3]
        ratio = taken["ours"].times_as_fast_as(taken["echo"]) * MERGED_CALLERS / REQUESTS
        table.add_row(name, *(f"{rate:,.0f}" for rate in rates), f"{ratio:.1f}")
    runner.run(client.close())
    return table


async def _forward_all(client: AsyncClient, callers: Sequence[Workload]) -> None:
    await asyncio.gather(
        *(
            client.forward(each.words, hidden_size=each.hidden_size, seed=each.seed, alphabet=each.alphabet)
            for each in callers
        )
    )
