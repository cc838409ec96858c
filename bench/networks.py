"""Compares the engine with torch's modules on L, for networks other than the lesson's.

"Padded" runs the module over words padded with zeros, which is wrong for two directions, because the backward
one reads the padding first; "packed" is right. "First" means that the engine has the network but none of the
words.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch
from baselines import OneHot
from paired_timing import Way, measure
from rich.table import Table
from unrolled_server.engine import Alphabet, Cell, Engine, Job, NetworkSpec, Nonlinearity
from workloads import Workload

STATE_MEMORY_BYTES = 8 << 30
MODULES = {Cell.RNN: torch.nn.RNN, Cell.LSTM: torch.nn.LSTM, Cell.GRU: torch.nn.GRU}


def specs(workload: Workload) -> dict[str, NetworkSpec]:
    """Returns the networks by their names in the table."""
    plain = NetworkSpec(symbol_count=len(workload.alphabet), hidden_size=workload.hidden_size, seed=0)
    named = {"relu": replace(plain, nonlinearity=Nonlinearity.RELU)}
    for name, cell in (("tanh", Cell.RNN), ("LSTM", Cell.LSTM), ("GRU", Cell.GRU)):
        one = replace(plain, cell=cell)
        named |= {
            name: one,
            f"{name}, 2 layers": replace(one, num_layers=2),
            f"{name}, both ways": replace(one, bidirectional=True),
            f"{name}, 2 layers both ways": replace(one, num_layers=2, bidirectional=True),
        }
    return named


def torch_calls(spec: NetworkSpec, workload: Workload) -> dict[str, Callable[[], object]]:
    """Returns calls of local torch, padded and packed."""
    torch.manual_seed(spec.seed)
    options = {"nonlinearity": spec.nonlinearity.value} if spec.cell is Cell.RNN else {}
    module = MODULES[spec.cell](
        spec.input_size,
        spec.hidden_size,
        num_layers=spec.num_layers,
        bidirectional=spec.bidirectional,
        batch_first=True,
        **options,
    )
    one_hot = OneHot(workload.alphabet)
    lengths = torch.tensor([len(word) for word in workload.words])

    def padded() -> object:
        with torch.inference_mode():
            return module(torch.from_numpy(one_hot(workload.words)))[0].numpy()

    def packed() -> object:
        with torch.inference_mode():
            inputs = torch.nn.utils.rnn.pack_padded_sequence(
                torch.from_numpy(one_hot(workload.words)), lengths, batch_first=True, enforce_sorted=False
            )
            return torch.nn.utils.rnn.pad_packed_sequence(module(inputs)[0], batch_first=True)[0].numpy()

    return {"padded": padded, "packed": packed}


def engine_ways(spec: NetworkSpec, workload: Workload) -> dict[str, Way]:
    """Returns calls of the engine, for the first time and with computed states."""
    engine = Engine(device="cpu", state_memory_bytes=STATE_MEMORY_BYTES)
    engine.verify()
    fresh: list[NetworkSpec] = []
    seeds = iter(range(1, 1_000_000))

    def ask(spec: NetworkSpec, words: Sequence[str]) -> np.ndarray:
        job = Job(network=spec, words=Alphabet.of(workload.alphabet).encode(words))
        answer = engine.run_one(job)
        if isinstance(answer, Exception):
            raise answer
        return answer.values

    def meet(count: int) -> None:
        fresh[:] = [replace(spec, seed=next(seeds)) for _ in range(count)]
        for network in fresh:
            ask(network, ["e"])

    return {
        "first": Way(call=lambda: ask(fresh.pop(), workload.words), prepare=meet),
        "known": Way(call=lambda: ask(spec, workload.words)),
    }


def tables(workloads: Sequence[Workload], *, budget_s: float) -> Iterable[Table]:
    """Yields a table of milliseconds and of ratios to torch."""
    for workload in workloads:
        if workload.name != "L":
            continue
        table = Table(
            "",
            *("padded ms", "packed ms", "first ms", "known ms", "padded / first", "padded / known"),
            *("packed / first", "packed / known"),
            title=f"networks: {workload.title}",
        )
        for name, spec in specs(workload).items():
            ways = {kind: Way(call=call) for kind, call in torch_calls(spec, workload).items()}
            taken = measure(ways | engine_ways(spec, workload), budget_s=budget_s)
            ratios = [
                taken[ours].times_as_fast_as(taken[rival])
                for rival in ("padded", "packed")
                for ours in ("first", "known")
            ]
            table.add_row(
                name,
                *(f"{timing.ms:.1f}" for timing in taken.values()),
                *(f"{ratio:.2f}" for ratio in ratios),
            )
        yield table
