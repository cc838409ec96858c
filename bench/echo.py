"""Small requests against a bare grpc.aio echo server that answers the same bytes.

Both servers are processes of their own; one asynchronous client asks both, with as many requests on the way.
What it prints is what our server adds to a call.
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import grpc.aio
from pairs import Way, measure
from rich.table import Table
from sdk import server_process
from unrolled.v1 import forward_pb2 as pb
from workloads import Workload

SERVICE = "/unrolled.v1.ForwardService"
CONCURRENCIES = (1, 8, 32)
REQUESTS = 256
Ask = Callable[..., Awaitable[None]]
ECHO_SERVER = Path(__file__).with_name("echo_server.py")


@contextmanager
def echo_process(reply: bytes) -> Iterator[str]:
    """An echo server in a process of its own; gives its address."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(reply)
        file.flush()
        command = [sys.executable, str(ECHO_SERVER), file.name]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                yield server.stdout.readline().strip() if server.stdout else ""
            finally:
                server.terminate()


def request_of(workload: Workload) -> bytes:
    """The workload as the SDK sends it."""
    return pb.ForwardRequest(
        words=workload.words,
        hidden_size=workload.hidden_size,
        seed=workload.seed,
        alphabet=workload.alphabet,
    ).SerializeToString()


async def ask_unary(channel: grpc.aio.Channel, request: bytes, *, concurrency: int) -> None:
    """Sends REQUESTS calls, so many at a time."""
    call = channel.unary_unary(f"{SERVICE}/Forward")

    async def caller() -> None:
        for _ in range(REQUESTS // concurrency):
            await call(request)

    await asyncio.gather(*(caller() for _ in range(concurrency)))


async def ask_stream(channel: grpc.aio.Channel, request: bytes, *, concurrency: int) -> None:
    """Sends REQUESTS messages on one stream, so many unanswered at a time."""
    window = asyncio.Semaphore(concurrency)

    async def requests() -> AsyncIterator[bytes]:
        for _ in range(REQUESTS):
            await window.acquire()
            yield request

    async for _ in channel.stream_stream(f"{SERVICE}/ForwardStream")(requests()):
        window.release()


async def open_channel(address: str) -> grpc.aio.Channel:
    """A channel of the running loop, connected."""
    channel = grpc.aio.insecure_channel(address)
    await channel.channel_ready()
    return channel


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """One table, on S alone: in larger work the call is not what costs."""
    for workload in workloads:
        if workload.name != "S":
            continue
        request = request_of(workload)
        with server_process("127.0.0.1:0") as ours, asyncio.Runner() as runner:
            channel = runner.run(open_channel(ours))
            reply = runner.run(one_reply(channel, request))
            with echo_process(reply) as echo:
                echo_channel = runner.run(open_channel(echo))
                yield _compare(runner, echo=echo_channel, ours=channel, request=request, budget_s=budget_s)
                runner.run(echo_channel.close())
            runner.run(channel.close())


async def one_reply(channel: grpc.aio.Channel, request: bytes) -> bytes:
    """What our server answers; computed twice, so that it is known."""
    call = channel.unary_unary(f"{SERVICE}/Forward")
    await call(request)
    return await call(request)


def _compare(
    runner: asyncio.Runner,
    *,
    echo: grpc.aio.Channel,
    ours: grpc.aio.Channel,
    request: bytes,
    budget_s: float,
) -> Table:
    table = Table("", "at a time", "echo, requests/s", "ours, requests/s", "ours / echo", title="A bare echo")
    for name, ask in (("unary", ask_unary), ("stream", ask_stream)):
        for concurrency in CONCURRENCIES:

            def way(channel: grpc.aio.Channel, ask: Ask = ask, concurrency: int = concurrency) -> Way:
                return Way(call=lambda: runner.run(ask(channel, request, concurrency=concurrency)))

            taken = measure({"echo": way(echo), "ours": way(ours)}, budget_s=budget_s)
            rates = [f"{REQUESTS / taken[side].ms * 1e3:,.0f}" for side in ("echo", "ours")]
            ratio = taken["ours"].times_as_fast_as(taken["echo"])
            table.add_row(name, str(concurrency), *rates, f"{ratio:.2f}")
    return table
