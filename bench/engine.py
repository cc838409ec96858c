"""Compares the engine, from words and alphabet to an array, with local torch and ONNX Runtime.

"First time": the engine has the network but none of the words. "Known": the same words were computed before.
"Unknown": the network is new, too.
"""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from baselines import onnx_call, torch_call
from networks import engine_ways, torch_calls
from paired_timing import Timing, Way, measure
from rich.table import Table
from unrolled_server.engine import Alphabet, Answer, Cell, Engine, Job, NetworkSpec, plain_network
from workloads import LETTERS, Workload, running_text

STATE_MEMORY_BYTES = 4 << 30


class EngineWays:
    """Runs a workload in the three ways.

    New states go to an engine of their own, which is replaced before each round: as in a long-running server,
    they get memory that evicted networks had, and no pages that this process never touched.
    """

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._engine = Engine(device="cpu", state_memory_bytes=STATE_MEMORY_BYTES)
        self._fresh_engine = self._engine
        self._seed = workload.seed
        self._fresh: list[NetworkSpec] = []
        self.first = Way(call=self._ask_fresh, prepare=self._meet_networks)
        self.known = Way(call=lambda: self._ask(self._engine, self._spec(workload.seed), workload.words))
        self.unknown = Way(call=self._ask_unknown, prepare=self._replace_engine)

    def _spec(self, seed: int) -> NetworkSpec:
        return plain_network(len(self._workload.alphabet), self._workload.hidden_size, seed)

    def _next_spec(self) -> NetworkSpec:
        self._seed += 1
        return self._spec(self._seed)

    def _replace_engine(self, _count: int) -> None:
        self._fresh_engine = Engine(device="cpu", state_memory_bytes=STATE_MEMORY_BYTES)

    def _meet_networks(self, count: int) -> None:
        self._replace_engine(count)
        self._fresh = [self._next_spec() for _ in range(count)]
        for spec in self._fresh:
            self._ask(self._fresh_engine, spec, ["e"])

    def _ask_fresh(self) -> Answer:
        return self._ask(self._fresh_engine, self._fresh.pop(), self._workload.words)

    def _ask_unknown(self) -> Answer:
        return self._ask(self._fresh_engine, self._next_spec(), self._workload.words)

    def _ask(self, engine: Engine, spec: NetworkSpec, words: Sequence[str]) -> Answer:
        job = Job(network=spec, words=Alphabet.of(self._workload.alphabet).encode(words))
        answer = engine.run_one(job)
        if isinstance(answer, Exception):
            raise answer
        return answer


def timings(workload: Workload, *, budget_s: float) -> dict[str, Timing]:
    """Measures all sides of one workload, in turn."""
    engine = EngineWays(workload)
    ways = {
        "torch": Way(call=torch_call(workload)),
        "onnx": Way(call=onnx_call(workload)),
        "first": engine.first,
        "known": engine.known,
        "unknown": engine.unknown,
    }
    return measure(ways, budget_s=budget_s)


def tables(workloads: Sequence[Workload], *, budget_s: float) -> list[Table]:
    """Returns tables of milliseconds and of their ratios within the run, and one of a single long text."""
    ms = Table("", "torch", "ONNX", "first time", "known", "unknown", title="engine: milliseconds")
    ratios = Table(
        "",
        *("torch / first", "torch / known", "ONNX / first", "ONNX / known"),
        title="engine: times as fast",
    )
    for workload in workloads:
        taken = timings(workload, budget_s=budget_s)
        shown = ("torch", "onnx", "first", "known", "unknown")
        ms.add_row(workload.name, *(f"{taken[name].ms:.3f}" for name in shown))
        pairs = (("torch", "first"), ("torch", "known"), ("onnx", "first"), ("onnx", "known"))
        ratios.add_row(
            workload.name,
            *(f"{taken[ours].times_as_fast_as(taken[rival]):.2f}" for rival, ours in pairs),
        )
    return [ms, ratios, text_table(budget_s=budget_s)]


def text_table(*, budget_s: float) -> Table:
    """Measures one text of 500 letters, which has one row a step."""
    text = "".join(running_text(500, seed=5))[:500]
    table = Table("", "torch, ms", "first, ms", "torch / first", title="engine: one text of 500 letters")
    for cell, hidden_size in itertools.product(Cell, (64, 256, 1024)):
        workload = Workload(name="one text", words=[text], alphabet=LETTERS, hidden_size=hidden_size)
        spec = replace(plain_network(len(LETTERS), hidden_size, 0), cell=cell)
        ways = {
            "torch": Way(call=torch_calls(spec, workload)["padded"]),
            "first": engine_ways(spec, workload)["first"],
        }
        torch, first = measure(ways, budget_s=budget_s).values()
        ratio = first.times_as_fast_as(torch)
        table.add_row(f"{cell.name} {hidden_size}", f"{torch.ms:.3f}", f"{first.ms:.3f}", f"{ratio:.2f}")
    return table
