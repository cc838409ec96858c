"""Checks that a server's memory stays within its budget, however many networks it serves.

`make soak-memory` requests many more networks than the budget of a separate server process can hold, and
compares the process's resident size with the budget.
"""

import argparse
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psutil
from unrolled_client import Client

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MIB = 2**20
CALLERS = 8
SAMPLES = 20
# Memory that serving needs in addition to states: buffers of gRPC, the interpreter, and released mappings.
SERVING_MIB = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The requests, and the server's budget."""

    requests: int
    networks: int
    hidden_size: int
    cell: str
    state_memory_mb: int


def sample_resident_sizes(load: Load) -> list[float]:
    """Returns samples of MiB above idle during the load; the first is after a twentieth of it."""
    flags = ["--address", "127.0.0.1:0", "--device", "cpu", "--log-level", "warning"]
    flags += ["--state-memory-mb", str(load.state_memory_mb)]
    command = [sys.executable, "-m", "unrolled_server", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            ready = server.stdout.readline()
            with Client(ready.removeprefix("unrolled-server ready on ").split(" | ")[0]) as client:
                return _ask(client, psutil.Process(server.pid), load)
        finally:
            server.terminate()


def _ask(client: Client, server: psutil.Process, load: Load) -> list[float]:
    chance = random.Random(0)
    words = ["".join(chance.choices(LETTERS, k=chance.randint(2, 12))) for _ in range(5_000)]
    requests = [(chance.choices(words, k=8), chance.randrange(load.networks)) for _ in range(load.requests)]

    def call(request: tuple[list[str], int]) -> None:
        batch, seed = request
        client.forward(batch, hidden_size=load.hidden_size, seed=seed, alphabet=LETTERS, cell=load.cell)

    idle = server.memory_info().rss
    share = load.requests // SAMPLES
    sizes = []
    with ThreadPoolExecutor(CALLERS) as callers:
        for start in range(0, share * SAMPLES, share):
            list(callers.map(call, requests[start : start + share]))
            sizes.append((server.memory_info().rss - idle) / MIB)
    return sizes


def main() -> int:
    """Returns 1 if the resident size exceeded the budget by over 32 MiB or grew in the second half."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=50_000)
    parser.add_argument("--networks", type=int, default=5_000)
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--cell", default="rnn")
    parser.add_argument("--state-memory-mb", type=int, default=256)
    load = Load(**vars(parser.parse_args()))
    sizes = sample_resident_sizes(load)
    print("MiB above idle:", " ".join(f"{size:.0f}" for size in sizes))
    middle, last, most = sizes[SAMPLES // 2], sizes[-1], max(sizes)
    print(f"budget {load.state_memory_mb}, most {most:.0f}, middle {middle:.0f}, last {last:.0f}")
    return int(most > load.state_memory_mb + SERVING_MIB or last > 1.05 * middle)


if __name__ == "__main__":
    sys.exit(main())
