"""What a message takes of the server's and the client's processors, over loopback, with the states known.

A file of its own because it reads other processes: seconds of processor time, not of the clock, so that the
client, which shares the machine, is not counted, and a busy machine does little harm. Requests of few bytes,
of many letters and of many bytes tell the three costs apart: a message, a letter, a byte.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import grpc.aio
import psutil
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import AsyncClient, Client

from bench.scaling.reading import Reading
from bench.servers import server_process
from bench.workloads import LETTERS, random_words

SERVICE = "/unrolled.v1.ForwardService"
AT_A_TIME = 8
MERGED_CALLS = 2_000
CHANNEL_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
# Nothing is answered from kept replies, and nothing is refused for want of room.
SERVER_FLAGS = ("--reply-memory-mb", "0", "--state-memory-mb", "2048", "--max-inflight-mb", "1024")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A request whose cost is read.

    Attributes:
        words: Of the request.
        hidden_size: Likewise.
        count: Requests in one reading.
        reply_form: Likewise.
        output: Likewise.
        is_new: Whether each request is of a network that has met none of its words.
    """

    words: Sequence[str]
    hidden_size: int
    count: int
    reply_form: pb.ReplyForm = pb.REPLY_FORM_UNSPECIFIED
    output: pb.Output = pb.OUTPUT_UNSPECIFIED
    is_new: bool = False

    @property
    def letter_count(self) -> int:
        """Of all words."""
        return sum(map(len, self.words))

    def request(self, seed: int) -> bytes:
        """What is sent."""
        return pb.ForwardRequest(
            words=self.words,
            hidden_size=self.hidden_size,
            seed=seed,
            alphabet=LETTERS,
            reply_form=self.reply_form,
            output=self.output,
        ).SerializeToString()

    def first_meeting(self, seed: int) -> bytes:
        """Has the network drawn, with one letter."""
        return replace(self, words=["z"]).request(seed)


S_WORDS, M_WORDS, L_WORDS = (random_words(count, seed=count) for count in (3, 64, 1_024))
PROBES = {
    "message": Probe(words=S_WORDS, hidden_size=2, count=400),
    "letters": Probe(words=L_WORDS, hidden_size=1, count=60),
    "bytes": Probe(words=L_WORDS, hidden_size=256, count=16),
    "M": Probe(words=M_WORDS, hidden_size=256, count=100),
    "M, all new": Probe(words=M_WORDS, hidden_size=256, count=30, is_new=True),
    "L, distinct form": Probe(words=L_WORDS, hidden_size=256, count=24, reply_form=pb.REPLY_FORM_DISTINCT),
    "L, last states": Probe(words=L_WORDS, hidden_size=256, count=40, output=pb.OUTPUT_LAST),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of one request.

    Attributes:
        server_s: Processor seconds of all threads of the server.
        loop_s: Of its event loop alone.
        client_s: Of the asking process, which is a bare asynchronous stub.
        wall_s: Of the clock, with as many requests on the way as there are.
        reply_nbytes: Of the reply.
    """

    server_s: float
    loop_s: float
    client_s: float
    wall_s: float
    reply_nbytes: int

    @classmethod
    def of(cls, spent: Sequence[float], *, reply_nbytes: int) -> Self:
        """As a meter read it."""
        server_s, loop_s, client_s, wall_s = spent
        return cls(
            server_s=server_s, loop_s=loop_s, client_s=client_s, wall_s=wall_s, reply_nbytes=reply_nbytes
        )


class Meter:
    """Reads the processor time of one server, in nanoseconds, as Linux has it."""

    def __init__(self, server: psutil.Process) -> None:
        self._clock = (~server.pid << 3) | 2  # clock_getcpuclockid(3) of another process
        self._loop = Path(f"/proc/{server.pid}/task/{server.pid}/schedstat")
        self.idle_nbytes = server.memory_full_info().uss

    def read(self) -> tuple[float, float, float, float]:
        """Seconds so far: of the server, of its event loop, of this process, of the clock."""
        loop_ns = int(self._loop.read_text().split()[0])
        return time.clock_gettime(self._clock), loop_ns * 1e-9, time.process_time(), time.perf_counter()

    @contextmanager
    def reading(self, count: int) -> Iterator[list[float]]:
        """Fills a list with the same four, per request, when the block ends."""
        spent: list[float] = []
        before = self.read()
        yield spent
        spent += [(now - then) / count for now, then in zip(self.read(), before, strict=True)]


async def unary(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    """So many calls at a time."""
    call, left = channel.unary_unary(f"{SERVICE}/Forward"), iter(requests)

    async def caller() -> None:
        for request in left:
            await call(request)

    await asyncio.gather(*(caller() for _ in range(AT_A_TIME)))


async def streamed(channel: grpc.aio.Channel, requests: Sequence[bytes]) -> None:
    """So many unanswered on one stream."""
    window = asyncio.Semaphore(AT_A_TIME)

    async def sent() -> AsyncIterator[bytes]:
        for request in requests:
            await window.acquire()
            yield request

    async for _ in channel.stream_stream(f"{SERVICE}/ForwardStream")(sent()):
        window.release()


TRANSPORTS: Mapping[str, Callable[..., object]] = {"unary": unary, "stream": streamed}


class Service:
    """A running server, and this process's connection to it."""

    def __init__(self, runner: asyncio.Runner, address: str, meter: Meter) -> None:
        self._runner = runner
        self._meter = meter
        self.idle_nbytes = meter.idle_nbytes
        self._seeds = iter(range(1, 1 << 31))
        self._channel = runner.run(self._open(address))

    async def _open(self, address: str) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        await channel.channel_ready()
        return channel

    def cost(self, probe: Probe, transport: str) -> Cost:
        """Reads one probe."""
        reply = self._runner.run(self._one(probe.request(0)))
        seeds = [next(self._seeds) if probe.is_new else 0 for _ in range(probe.count)]
        if probe.is_new:
            self._runner.run(unary(self._channel, [probe.first_meeting(seed) for seed in seeds]))
        requests = [probe.request(seed) for seed in seeds]
        with self._meter.reading(probe.count) as spent:
            self._runner.run(TRANSPORTS[transport](self._channel, requests))
        return Cost.of(spent, reply_nbytes=len(reply))

    async def _one(self, request: bytes) -> bytes:
        return await self._channel.unary_unary(f"{SERVICE}/Forward")(request)

    def merged(self, client: AsyncClient) -> Cost:
        """One logical call among thousands that the SDK merges, each with words of its own."""
        draw = random.Random(7)
        calls = [draw.choices(L_WORDS, k=3) for _ in range(MERGED_CALLS)]

        async def call_all() -> None:
            await asyncio.gather(
                *(client.forward(words, hidden_size=2, seed=0, alphabet=LETTERS) for words in calls)
            )

        with self._meter.reading(MERGED_CALLS) as spent:
            self._runner.run(call_all())
        return Cost.of(spent, reply_nbytes=0)

    def sdk(self, client: Client, probe: Probe) -> float:
        """Processor seconds of a call of the SDK, in the caller's process."""
        count = max(4, probe.count // 4)
        with self._meter.reading(count) as spent:
            for _ in range(count):
                client.forward(probe.words, hidden_size=probe.hidden_size, seed=0, alphabet=LETTERS)
        return spent[2]

    def close(self) -> None:
        """Ends the connection."""
        self._runner.run(self._channel.close())


@contextmanager
def service() -> Iterator[tuple[Service, str, asyncio.Runner]]:
    """A server in a process of its own."""
    before = set(psutil.Process().children())
    with server_process("127.0.0.1:0", *SERVER_FLAGS) as address, asyncio.Runner() as runner:
        (server,) = set(psutil.Process().children()) - before
        running = Service(runner, address, Meter(server))
        try:
            yield running, address, runner
        finally:
            running.close()


def service_costs(*, rounds: int) -> tuple[int, Mapping[str, list[Cost]]]:
    """What costs what, round by round.

    Returns:
        The bytes of an idle server that are its own; and by ``probe/transport``, ``merged`` and ``sdk/probe``
        (which has ``client_s`` alone) the costs.
    """
    costs: dict[str, list[Cost]] = {}
    with service() as (running, address, runner), Client(address) as client:
        merging = AsyncClient(address)
        for round_number in range(rounds + 1):
            for name, cost in _one_round(running, client, merging):
                if round_number:  # the first warms up
                    costs.setdefault(name, []).append(cost)
        runner.run(merging.close())
        return running.idle_nbytes, costs


def _one_round(running: Service, client: Client, merging: AsyncClient) -> Iterator[tuple[str, Cost]]:
    for name, probe in PROBES.items():
        for transport in TRANSPORTS:
            yield f"{name}/{transport}", running.cost(probe, transport)
    for name in ("message", "bytes"):
        spent_s = running.sdk(client, PROBES[name])
        yield f"sdk/{name}", Cost.of([0, 0, spent_s, 0], reply_nbytes=0)
    yield "merged", running.merged(merging)


def readings(costs: Mapping[str, list[Cost]]) -> Mapping[str, Mapping[str, Reading]]:
    """The same, as readings of each side."""
    return {
        name: {
            side: Reading.of([getattr(cost, side) for cost in taken])
            for side in ("server_s", "loop_s", "client_s", "wall_s", "reply_nbytes")
        }
        for name, taken in costs.items()
    }
