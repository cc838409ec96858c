"""Compares a bulk job with packed torch: 5,000 texts of 183 letters, a BiLSTM of 256, the maximum over time.

In process each side has one thread; a server with default settings has as many as torch.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from baselines import OneHot, drawn_module
from rich.table import Table
from servers import server_process
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from unrolled_client import Client
from unrolled_server.cores import usable_cores
from unrolled_server.engine import Cell, NetworkSpec
from workloads import LETTERS, Workload

TEXT_COUNT, LETTER_COUNT, BATCH = 5_000, 183, 512
SPEC = NetworkSpec(symbol_count=len(LETTERS), hidden_size=256, seed=0, cell=Cell.LSTM, bidirectional=True)


def packed(module: torch.nn.RNNBase, texts: Sequence[str]) -> None:
    """Computes the job with torch, a batch at a time."""
    one_hot = OneHot(LETTERS)
    with torch.inference_mode():
        for at in range(0, len(texts), BATCH):
            batch = texts[at : at + BATCH]
            inputs, lengths = torch.from_numpy(one_hot(batch)), list(map(len, batch))
            states, _ = module(pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False))
            pad_packed_sequence(states, batch_first=True, padding_value=-2.0)[0].amax(1).numpy()


def seconds_of(job: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Returns the seconds of one run."""
    began_s = time.perf_counter()
    job(texts)
    return time.perf_counter() - began_s


def tables(_workloads: Sequence[Workload], *, budget_s: float) -> Iterator[Table]:  # noqa: ARG001 - one run
    """Yields one table, with one run of each."""
    draw = random.Random(5)
    texts = ["".join(draw.choices(LETTERS, k=LETTER_COUNT)) for _ in range(TEXT_COUNT)]
    options = {
        "cell": "lstm",
        "bidirectional": True,
        "output": "max",
        "alphabet": LETTERS,
        "hidden_size": 256,
    }
    table = Table("", "threads", "torch, s", "Unrolled, s", "torch / Unrolled", title="5,000 texts")
    with server_process("127.0.0.1:0") as target:
        clients = {"in process": Client.local(device="cpu", compute_threads=1), "over TCP": Client(target)}
        for kind, client in clients.items():
            threads = 1 if kind == "in process" else usable_cores()
            torch.set_num_threads(threads)
            with client:
                torch_s = seconds_of(partial(packed, drawn_module(SPEC)), texts)
                ours_s = seconds_of(partial(client.forward, **options), texts)
            table.add_row(kind, f"{threads}", f"{torch_s:.1f}", f"{ours_s:.1f}", f"{torch_s / ours_s:.2f}")
    torch.set_num_threads(1)
    yield table
