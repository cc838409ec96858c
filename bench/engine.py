"""Compares the engine, from words and alphabet to an array, with local torch and ONNX Runtime.

"First time": the engine has the network but none of the words. "Known": the same words were computed before.
"Unknown": the network is new, too.
"""

from collections.abc import Sequence

from baselines import onnx_call, torch_call, without_promise_call
from paired_timing import Timing, Way, measure
from rich.table import Table
from unrolled_server.engine import Alphabet, Answer, Engine, Job, NetworkSpec, plain_network
from workloads import Workload

STATE_MEMORY_BYTES = 4 << 30


class EngineWays:
    """Runs a workload in the three ways."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._engine = Engine(device="cpu", state_memory_bytes=STATE_MEMORY_BYTES)
        self._engine.verify()
        self._seed = workload.seed
        self._fresh: list[NetworkSpec] = []
        self.first = Way(call=self._ask_fresh, prepare=self._meet_networks)
        self.known = Way(call=lambda: self._ask(self._spec(workload.seed), workload.words))
        self.unknown = Way(call=lambda: self._ask(self._next_spec(), workload.words))

    def _spec(self, seed: int) -> NetworkSpec:
        return plain_network(len(self._workload.alphabet), self._workload.hidden_size, seed)

    def _next_spec(self) -> NetworkSpec:
        self._seed += 1
        return self._spec(self._seed)

    def _meet_networks(self, count: int) -> None:
        self._fresh = [self._next_spec() for _ in range(count)]
        for spec in self._fresh:
            self._ask(spec, ["e"])

    def _ask_fresh(self) -> Answer:
        return self._ask(self._fresh.pop(), self._workload.words)

    def _ask(self, spec: NetworkSpec, words: Sequence[str]) -> Answer:
        job = Job(network=spec, words=Alphabet.of(self._workload.alphabet).encode(words))
        answer = next(self._engine.run([job]))
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
        "without promise": Way(call=without_promise_call(workload)),
        "known": engine.known,
        "unknown": engine.unknown,
    }
    return measure(ways, budget_s=budget_s)


def tables(workloads: Sequence[Workload], *, budget_s: float) -> list[Table]:
    """Returns one table of milliseconds and one of their ratios within the run."""
    ms = Table("", "torch", "ONNX", "first time", "known", "unknown", title="engine: milliseconds")
    ratios = Table(
        "",
        *("torch / first", "torch / known", "ONNX / first", "ONNX / known", "equal bits cost"),
        title="engine: times as fast",
    )
    for workload in workloads:
        taken = timings(workload, budget_s=budget_s)
        shown = ("torch", "onnx", "first", "known", "unknown")
        ms.add_row(workload.name, *(f"{taken[name].ms:.3f}" for name in shown))
        pairs = (("torch", "first"), ("torch", "known"), ("onnx", "first"), ("onnx", "known"))
        cost = 1 / taken["first"].times_as_fast_as(taken["without promise"]) - 1
        ratios.add_row(
            workload.name,
            *(f"{taken[ours].times_as_fast_as(taken[rival]):.2f}" for rival, ours in pairs),
            f"{cost:+.0%}",
        )
    return [ms, ratios]
