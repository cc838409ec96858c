"""Loads servers with the load tester in a separate process, for the fault tests."""

import json
import subprocess
import sys
from dataclasses import dataclass

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Workloads as in bench. Each request of L has its own seed, so with little state memory all its states are
# new; callers pass the file of its words.
L = ("--words", "1024", "--hidden-size", "256", "--output", "last", "--seed", "0-1000000", "--pool", "500")
M = ("--words", "64", "--hidden-size", "256", "--pool", "20")
S = ("--words", "3", "--hidden-size", "2", "--pool", "100")


@dataclass(frozen=True)
class Measured:
    """One run of the load tester."""

    record: dict

    @property
    def answered_per_s(self):
        return self.record["achieved_per_s"]

    @property
    def errors(self):
        return self.record["error_counts"]

    @property
    def sent_count(self):
        return self.record["sent_count"]

    @property
    def p99_s(self):
        return self.record["latency"]["p99_s"]

    @property
    def p99_by_interval_s(self):
        intervals = [each for each in self.record["intervals"] if each["since_s"] >= 0]
        return [each["latency"]["p99_s"] for each in intervals if each["latency"]["count"]]


def measure(target, *options, duration_s, warmup_s=1.0):
    """Returns the load tester's record of a run; it compares the replies of equal requests."""
    command = [sys.executable, "-m", "unrolled_loadtest", "--target", target, "--no-live", "--json"]
    times = ("--duration-s", f"{duration_s}", "--warmup-s", f"{warmup_s}")
    done = subprocess.run(
        [*command, "--alphabet", LETTERS, *options, *times],
        capture_output=True,
        text=True,
        timeout=duration_s + warmup_s + 120,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr  # 2: a reply differed; 1: no reply
    return Measured(json.loads(done.stdout))
