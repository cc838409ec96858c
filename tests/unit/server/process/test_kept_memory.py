"""Freed memory is kept for the next replies. A child process tests it, because it changes malloc for good."""

import platform
import subprocess
import sys

import pytest

# Prints the page faults of two blocks that are written and freed, after the first time.
COUNT_FAULTS = """
import resource
from unrolled_server.process.serve import KEPT_BYTES, keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def write():
    return [bytes([1]) * (KEPT_BYTES // 4) for _ in range(2)]

keep_freed_memory()
write()
before = faults()
write()
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is of glibc")
def test_the_next_replies_need_no_new_pages():
    command = [sys.executable, "-c", COUNT_FAULTS]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert int(printed) < 100  # of 4,096
