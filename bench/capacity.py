"""Measures the figures of docs/operate/capacity.md: what requests cost one server process on this machine.

Times are processor time of the server process (all threads), which excludes the client on the same machine
and depends little on other work. Medians over rounds; every round measures every figure.
"""

import argparse
import asyncio
import math
import random
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import psutil
from echo import ask_unary, open_channel
from rich.console import Console
from rich.table import Table
from servers import server_process
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import AsyncClient
from workloads import LESSON, LETTERS, random_words

CONCURRENCY = 8
MERGED_CALLS = 2_000
HIDDEN_SIZE = 256
UTILISATION = 0.6
# No cached replies, and no eviction while states are counted.
SERVER_FLAGS = ("--reply-memory-mb", "0", "--state-memory-mb", "8192", "--max-inflight-mb", "1024")
MIB = 1 << 20
# S is 3 words at hidden size 2; M is 64 words at hidden size 256, with 3 new states in a warm network.
DEMANDS = {
    "S": {"reply_bytes": 120, "new_states": 0},
    "S, merged": {"reply_bytes": 120, "new_states": 0, "is_merged": True},
    "M": {"reply_bytes": 64 * 12 * 1_024, "new_states": 3},
    "M, last states": {"reply_bytes": 64 * 1_024, "new_states": 3},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Costs of one server process: seconds of processor time, and bytes."""

    message_s: float
    merged_call_s: float
    byte_s: float
    state_s: float
    state_bytes: float
    idle_bytes: float


def process_count(
    figures: Figures, *, rate_per_s: float, reply_bytes: float, new_states: float, is_merged: bool = False
) -> int:
    """Returns the number of processes, one core each; at least 2, so that one may fail."""
    message_s = figures.merged_call_s if is_merged else figures.message_s
    request_s = message_s + figures.byte_s * reply_bytes + figures.state_s * new_states
    return max(2, math.ceil(rate_per_s * request_s / UTILISATION))


class Server:
    """A running server, this process's connection to it, and its processor time."""

    def __init__(self, process: psutil.Process, address: str, runner: asyncio.Runner) -> None:
        self._clock = (~process.pid << 3) | 2  # clock_getcpuclockid(3): the CPU clock of another process
        self._runner = runner
        self._channel = runner.run(open_channel(address))
        self._client = AsyncClient(address)

    def spent_s(self) -> float:
        """Returns the processor time of the process so far, in seconds."""
        return time.clock_gettime(self._clock)

    def cost_s(self, requests: Sequence[bytes]) -> float:
        """Returns the processor time per request, with CONCURRENCY at a time."""
        before_s = self.spent_s()
        self._runner.run(ask_unary(self._channel, requests, concurrency=CONCURRENCY))
        return (self.spent_s() - before_s) / len(requests)

    def merged_cost_s(self, words: Sequence[str]) -> float:
        """Returns the processor time per small call that an AsyncClient merges."""
        draw = random.Random(7)
        calls = [draw.choices(words, k=3) for _ in range(MERGED_CALLS)]
        before_s = self.spent_s()
        self._runner.run(self._ask_merged(calls))
        return (self.spent_s() - before_s) / MERGED_CALLS

    def close(self) -> None:
        """Closes the connections."""
        self._runner.run(self._client.close())
        self._runner.run(self._channel.close())

    async def _ask_merged(self, calls: Sequence[Sequence[str]]) -> None:
        await asyncio.gather(
            *(self._client.forward(words, hidden_size=2, seed=0, alphabet=LETTERS) for words in calls)
        )


def request(
    words: Sequence[str], *, hidden_size: int = HIDDEN_SIZE, seed: int, output: pb.Output = pb.OUTPUT_ALL
) -> bytes:
    """Returns the bytes of a request."""
    return pb.ForwardRequest(
        words=words, hidden_size=hidden_size, seed=seed, alphabet=LETTERS, output=output
    ).SerializeToString()


def measure(*, rounds: int) -> Figures:
    """Returns the medians over the rounds; the first round warms up and does not count."""
    words = random_words(1_024, seed=2)
    state_count = len({word[: end + 1] for word in words for end in range(len(word))})
    reply_bytes = 4 * HIDDEN_SIZE * len(words) * max(map(len, words))
    children = set(psutil.Process().children())
    taken: dict[str, list[float]] = {}
    with server_process("127.0.0.1:0", *SERVER_FLAGS) as address, asyncio.Runner() as runner:
        (process,) = set(psutil.Process().children()) - children
        idle_bytes = process.memory_full_info().uss
        server = Server(process, address, runner)
        # Memory first: later the process reuses memory that large replies have freed.
        networks = [request(words, seed=-number, output=pb.OUTPUT_LAST) for number in range(1, 21)]
        server.cost_s(networks)
        state_bytes = (process.memory_full_info().uss - idle_bytes) / len(networks) / state_count
        for seed in range(rounds + 1):
            # Replies of last states are small, so the first and later calls differ only by the new states.
            last = request(words, seed=seed, output=pb.OUTPUT_LAST)
            new_s = server.cost_s([last])
            known_s = server.cost_s([last] * 20)
            full_s = server.cost_s([request(words, seed=seed)] * 20)
            row = {
                "message_s": server.cost_s([request(LESSON, hidden_size=2, seed=0)] * 1_000),
                "merged_call_s": server.merged_cost_s(words),
                "byte_s": (full_s - known_s) / reply_bytes,
                "state_s": (new_s - known_s) / state_count,
            }
            for name, value in row.items():
                taken.setdefault(name, []).append(value)
        server.close()
    medians = {name: statistics.median(values[1:]) for name, values in taken.items()}
    return Figures(idle_bytes=idle_bytes, state_bytes=state_bytes, **medians)


def main() -> int:
    """Prints the figures, and the number of processes for each demand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    began_s = time.monotonic()
    figures = measure(rounds=parser.parse_args().rounds)
    table = Table("one server process", "", title="Measured")
    table.add_row("a small unary call", f"{figures.message_s * 1e6:.0f} µs")
    table.add_row("a small call that the SDK merges", f"{figures.merged_call_s * 1e6:.1f} µs")
    table.add_row("a MiB of reply", f"{figures.byte_s * MIB * 1e6:.0f} µs")
    table.add_row(f"a new state, hidden {HIDDEN_SIZE}", f"{figures.state_s * 1e6:.2f} µs")
    table.add_row(f"a stored state, hidden {HIDDEN_SIZE}", f"{figures.state_bytes / 1024:.2f} KiB")
    table.add_row("an idle process", f"{figures.idle_bytes / MIB:.0f} MiB")
    answers = Table("requests", "1,000 a second", "100,000 a second", title="Processes, by the formula")
    for name, demand in DEMANDS.items():
        counts = (process_count(figures, rate_per_s=rate, **demand) for rate in (1e3, 1e5))
        answers.add_row(name, *(f"{count:,}" for count in counts))
    console = Console()
    console.print(table)
    console.print(answers)
    console.print(f"{time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
