"""Hit rate and latency of affinity by network against round robin, over four replicas: some two minutes.

Four replicas for each way, of which none has memory for all networks and each for its share; the two ways
take turns. Generator and replicas share the machine, so the rate is modest, and waiting for each other is
part of every figure. It is a program of its own because it starts eight servers.
"""

import argparse
import re
import socket
import statistics
import sys
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
from rich.console import Console
from rich.table import Table
from servers import server_process
from unrolled_client._transport.endpoint import Spread
from unrolled_loadtest.results.record import Record
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.distributions import Distribution, parse_distribution
from unrolled_loadtest.workload.plan import OpenLoop, Plan, RequestMix, parse_rate

WAYS: tuple[Spread, ...] = ("round_robin", "network")
REPLICAS, NETWORKS = 4, 400
HIDDEN_SIZE, WORDS = 256, 64
STATE_MEMORY_MB = 200
FILL_S, WARMUP_S = 15.0, 1.0
PERCENTS = (50, 99)
_SAMPLE = re.compile(r"^(\w+)(?:\{.*?\})? ([\d.e+-]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Four servers that are asked in one way, and the addresses of their metrics."""

    spread: Spread
    target: str
    metrics: tuple[str, ...]

    def read(self) -> list[dict[str, float]]:
        """Returns each one's metrics by name, summed over labels."""
        return [_scraped(address) for address in self.metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The results of one run."""

    hit_rate: float  # share of the states that were known
    latencies_ms: tuple[float, ...]  # at PERCENTS, from when requests were due
    busiest: float  # the busiest replica's share of the requests
    networks: float  # in the memory of all replicas together; one that two know counts twice
    errors: int


def main() -> int:
    """Prints a table; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=150.0, help="requests per second")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind")
    parser.add_argument("--duration-s", type=float, default=5.0, help="of each run")
    options = parser.parse_args()
    console = Console()
    with ExitStack() as stack:
        sets = [stack.enter_context(_replicas(spread)) for spread in WAYS]
        for name, seeds in _draws().items():
            for replicas in sets:
                _measure(replicas, seeds, rate=options.rate, duration_s=FILL_S)
            found: dict[Spread, list[Measured]] = {spread: [] for spread in WAYS}
            for number in range(options.rounds):
                for replicas in sets[:: -1 if number % 2 else 1]:
                    measured = _measure(replicas, seeds, rate=options.rate, duration_s=options.duration_s)
                    found[replicas.spread].append(measured)
            console.print(_table(name, found, options))
    return 0


def _draws() -> Mapping[str, Distribution]:
    """The networks of requests: each as likely, or by Zipf's law, where the first has a seventh of them."""
    copies = np.round(NETWORKS / np.arange(1, NETWORKS + 1)).astype(int)
    by_rank = tuple(np.repeat(np.arange(NETWORKS), copies).tolist())
    return {
        "each network as likely": parse_distribution(f"0-{NETWORKS - 1}", name="seed"),
        "networks by Zipf's law": Distribution(text="by Zipf's law", kind="choice", numbers=by_rank),
    }


@contextmanager
def _replicas(spread: Spread) -> Iterator[Replicas]:
    with ExitStack() as stack:
        metrics = [f"127.0.0.1:{_free_port()}" for _ in range(REPLICAS)]
        flags = ["--state-memory-mb", f"{STATE_MEMORY_MB}", "--reply-memory-mb", "0", "--metrics-address"]
        addresses = [
            stack.enter_context(server_process("127.0.0.1:0", *flags, address)) for address in metrics
        ]
        yield Replicas(spread=spread, target=f"ipv4:{','.join(addresses)}", metrics=tuple(metrics))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return cast("int", probe.getsockname()[1])


def _scraped(address: str) -> dict[str, float]:
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    sums: dict[str, float] = {}
    for name, value in _SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums


def _measure(replicas: Replicas, seeds: Distribution, *, rate: float, duration_s: float) -> Measured:
    before = replicas.read()
    record = run(_plan(replicas, seeds, rate=rate, duration_s=duration_s))
    return _compared(before, replicas.read(), record)


def _plan(replicas: Replicas, seeds: Distribution, *, rate: float, duration_s: float) -> Plan:
    return Plan(
        target=replicas.target,
        spread=replicas.spread,
        request_mix=RequestMix(
            words_per_request=parse_distribution(f"{WORDS}", name="words"),
            hidden_size=parse_distribution(f"{HIDDEN_SIZE}", name="hidden_size"),
            seed=seeds,
            network={"output": "last"},
            pool_count=4_000,
        ),
        load=OpenLoop(segments=parse_rate(f"{rate}", duration_s=duration_s), arrivals="poisson"),
        warmup_s=WARMUP_S,
    )


def _compared(
    before: Sequence[dict[str, float]], after: Sequence[dict[str, float]], record: Record
) -> Measured:
    def grown(name: str) -> list[float]:
        return [now[name] - then[name] for then, now in zip(before, after, strict=True)]

    requests = grown("unrolled_requests_total")
    return Measured(
        hit_rate=1
        - sum(grown("unrolled_prefixes_computed_total")) / sum(grown("unrolled_prefixes_asked_total")),
        latencies_ms=tuple(record.latency.percentile(percent) * 1e3 for percent in PERCENTS),
        busiest=max(requests) / sum(requests),
        networks=sum(now["unrolled_networks"] for now in after),
        errors=record.error_count,
    )


def _table(name: str, found: Mapping[Spread, Sequence[Measured]], options: argparse.Namespace) -> Table:
    title = (
        f"{NETWORKS} networks of {HIDDEN_SIZE} units over {REPLICAS} replicas with {STATE_MEMORY_MB} MiB of "
        f"states, {name}; {options.rate:g} requests/s of {WORDS} words, medians of {options.rounds}"
    )
    columns = [f"p{percent}, ms" for percent in PERCENTS]
    table = Table(
        "spread", "states known", *columns, "busiest replica", "networks known", "errors", title=title
    )
    for spread, runs in found.items():
        table.add_row(
            spread,
            f"{statistics.median(each.hit_rate for each in runs):.1%}",
            *(
                f"{statistics.median(each.latencies_ms[at] for each in runs):.1f}"
                for at in range(len(columns))
            ),
            f"{statistics.median(each.busiest for each in runs):.0%} of requests",
            f"{statistics.median(each.networks for each in runs):.0f}",
            f"{sum(each.errors for each in runs)}",
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
