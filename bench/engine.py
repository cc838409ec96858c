"""Compares the engine, from words and alphabet to an array, with local torch and ONNX Runtime.

"First": the engine has the network but none of the words. "Known": the same words were computed before.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

from baselines import network_of, onnx_call, torch_call
from paired_timing import Timing, Way, measure
from rich.table import Table
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, Output
from workloads import Workload

new_engine = partial(Engine, device="cpu", state_memory_bytes=4 << 30)
RIVALS = {"torch": torch_call, "ONNX": onnx_call}
MAX_SYMBOLS = 20_000  # of words for LSTM and GRU, which take seconds a call beyond


def engine_ways(
    spec: NetworkSpec,
    workload: Workload,
    *,
    network_count: int = 1,
    output: Output = Output.ALL,
    make_engine: Callable[[], Engine] = new_engine,
) -> dict[str, Way]:
    """Returns calls of the engine, for the first time and with computed states.

    New states go to an engine of their own, which is replaced before each round: as in a long-running server,
    they get memory that evicted networks had, and no pages that this process never touched.

    Args:
        spec: The network; those of first calls have other seeds.
        workload: Its words.
        network_count: How many networks run the words in one call, as one batch.
        output: What the answers hold.
        make_engine: Makes both engines.
    """
    known, fresh = make_engine(), make_engine()
    batches: list[list[NetworkSpec]] = []
    seeds = itertools.count(1)

    def ask(engine: Engine, networks: Sequence[NetworkSpec], words: Sequence[str] = workload.words) -> None:
        encoded = Alphabet.of(workload.alphabet).encode(words)
        jobs = [Job(network=network, words=encoded, output=output) for network in networks]
        for answer in engine.run(jobs) if len(jobs) > 1 else [engine.run_one(jobs[0])]:
            if isinstance(answer, Exception):
                raise answer

    def meet_networks(count: int) -> None:
        nonlocal fresh
        fresh = make_engine()
        batches[:] = [[replace(spec, seed=next(seeds)) for _ in range(network_count)] for _ in range(count)]
        for networks in batches:
            ask(fresh, networks, words=workload.alphabet[:1])

    return {
        "first": Way(call=lambda: ask(fresh, batches.pop()), prepare=meet_networks),
        "known": Way(call=lambda: ask(known, [spec] * network_count)),
    }


def compare(
    spec: NetworkSpec,
    workload: Workload,
    *,
    budget_s: float,
    rivals: Sequence[str] = ("torch",),
    ours: Sequence[str] = ("first", "known"),
) -> dict[str, Timing]:
    """Measures rivals and ways of the engine, in turn."""
    ways = {name: Way(call=RIVALS[name](spec, workload)) for name in rivals}
    engine = engine_ways(spec, workload)
    return measure(ways | {name: engine[name] for name in ours}, budget_s=budget_s)


def row_of(taken: Mapping[str, Timing], rivals: Sequence[str] = ("torch",)) -> list[str]:
    """Returns a table's cells: milliseconds of each, then each rival's time / first and / known."""
    ratios = [taken[ours].times_as_fast_as(taken[rival]) for rival in rivals for ours in ("first", "known")]
    return [*(f"{timing.ms:.3f}" for timing in taken.values()), *(f"{ratio:.2f}" for ratio in ratios)]


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:
    """Yields a table for each cell."""
    for cell in Cell:
        times = (*(f"{name}, ms" for name in RIVALS), "first, ms", "known, ms")
        ratios = (name for rival in RIVALS for name in (f"{rival} / first", "/ known"))
        table = Table("", *times, *ratios, title=f"engine: {cell.name}")
        for workload in workloads:
            if cell is Cell.RNN or sum(map(len, workload.words)) <= MAX_SYMBOLS:
                spec = network_of(workload, cell=cell)
                taken = compare(spec, workload, budget_s=budget_s, rivals=list(RIVALS))
                table.add_row(workload.name, *row_of(taken, list(RIVALS)))
        yield table
