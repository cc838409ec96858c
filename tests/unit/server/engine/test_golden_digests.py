"""224 answers have the bits of the committed table with every instruction set of this CPU."""

import os
import subprocess
import sys
from itertools import count, takewhile
from pathlib import Path

import pytest
from unrolled_core import LIBRARY
from unrolled_server.engine import Engine
from unrolled_server.engine.core import load

from .golden_jobs import VECTORS, digest, golden_engine, golden_jobs, lines

TABLE = Path(__file__).with_name("golden_digests.txt").read_text().splitlines()
ISAS = [name.decode() for name in takewhile(bool, map(load(LIBRARY, isa="").ur_isa_at, count()))]


def test_all_answers_have_the_digests_of_the_table():
    assert lines(golden_engine()) == TABLE


@pytest.mark.parametrize("isa", ISAS)
def test_each_instruction_set_gives_the_digests_of_the_table(isa):
    command = [sys.executable, "-m", "tests.unit.server.engine.golden_jobs"]
    root = Path(__file__).parents[4]
    found = subprocess.run(
        command, cwd=root, env={**os.environ, "UNROLLED_ISA": isa}, capture_output=True, text=True, check=True
    )
    assert found.stdout.splitlines() == TABLE


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("memory_bytes", [20_000, 1 << 30])
def test_order_budget_and_threads_change_no_digest(threads: int, memory_bytes: int):
    engine = Engine(device="cpu", threads=threads, state_memory_bytes=memory_bytes, vectors=[VECTORS])
    jobs = list(golden_jobs())[::-1]
    assert [digest(answer) for answer in engine.run(jobs)] == [line.split()[0] for line in TABLE[::-1]]
