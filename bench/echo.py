"""Compares small requests with a bare grpc.aio echo server that returns the same bytes.

Both servers run in separate processes; one asynchronous client calls both with the same concurrency. The
ratio shows what our server adds to a call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

import grpc
import grpc.aio
from paired_timing import Way, measure
from rich.table import Table
from servers import server_process
from unrolled.v1 import forward_pb2 as pb
from unrolled_loadtest.echo_server import echo_server
from workloads import Workload

SERVICE = "/unrolled.v1.ForwardService"
CONCURRENCIES = (1, 8, 32)
REQUESTS = 256
Ask = Callable[..., Awaitable[None]]


def request_of(workload: Workload) -> bytes:
    """Returns the workload as the SDK sends it."""
    return pb.ForwardRequest(
        words=workload.words,
        hidden_size=workload.hidden_size,
        seed=workload.seed,
        alphabet=workload.alphabet,
    ).SerializeToString()


async def ask_unary(channel: grpc.aio.Channel, request: bytes, *, concurrency: int) -> None:
    """Sends REQUESTS calls, `concurrency` at a time."""
    call = channel.unary_unary(f"{SERVICE}/Forward")

    async def caller() -> None:
        for _ in range(REQUESTS // concurrency):
            await call(request)

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def ask_stream(channel: grpc.aio.Channel, request: bytes, *, concurrency: int) -> None:
    """Sends REQUESTS messages on one stream, with `concurrency` unanswered at a time."""
    window = asyncio.Semaphore(concurrency)

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(REQUESTS):
            await window.acquire()
            yield request

    async for _ in channel.stream_stream(f"{SERVICE}/ForwardStream")(requests()):
        window.release()


async def open_channel(address: str) -> grpc.aio.Channel:
    """Returns a connected channel of the running event loop."""
    channel = grpc.aio.insecure_channel(address)
    await channel.channel_ready()
    return channel


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields one table, for S only: in larger requests the call is a small part of the cost."""
    for workload in workloads:
        if workload.name != "S":
            continue
        request = request_of(workload)
        with (
            server_process("127.0.0.1:0") as ours,
            server_process("127.0.0.1:0", "--reply-memory-mb", "0") as computing,
            asyncio.Runner() as runner,
        ):
            channels = {
                "ours": runner.run(open_channel(ours)),
                "computed": runner.run(open_channel(computing)),
            }
            replies = [runner.run(one_reply(channel, request)) for channel in channels.values()]
            with echo_server(replies[0]) as echo:
                channels["echo"] = runner.run(open_channel(echo))
                yield _compare(runner, channels, request=request, budget_s=budget_s)
                for channel in channels.values():
                    runner.run(channel.close())


async def one_reply(channel: grpc.aio.Channel, request: bytes) -> bytes:
    """Returns our server's third reply, a cached one, after a new one and one of computed states."""
    call = channel.unary_unary(f"{SERVICE}/Forward")
    for _ in range(2):
        await call(request)
    return await call(request)


def _compare(
    runner: asyncio.Runner, channels: Mapping[str, grpc.aio.Channel], *, request: bytes, budget_s: float
) -> Table:
    columns = ("echo, requests/s", "ours, requests/s", "ours / echo", "ours without reply cache / echo")
    table = Table("", "at a time", *columns, title="A bare echo")
    for name, ask in (("unary", ask_unary), ("stream", ask_stream)):
        for concurrency in CONCURRENCIES:

            def way(channel: grpc.aio.Channel, ask: Ask = ask, concurrency: int = concurrency) -> Way:
                return Way(call=lambda: runner.run(ask(channel, request, concurrency=concurrency)))

            taken = measure({side: way(channel) for side, channel in channels.items()}, budget_s=budget_s)
            rates = [f"{REQUESTS / taken[side].ms * 1e3:,.0f}" for side in ("echo", "ours")]
            ratios = [f"{taken[side].times_as_fast_as(taken['echo']):.2f}" for side in ("ours", "computed")]
            table.add_row(name, str(concurrency), *rates, *ratios)
    return table
