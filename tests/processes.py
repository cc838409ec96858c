"""Servers in processes of their own, for tests of how they start and end."""

import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
from unrolled.v1 import forward_pb2 as pb

TIMEOUT_S = 60


@contextmanager
def process(*flags, module="unrolled_server", **options):
    """The command in a process of its own, ended by its process id whatever happens."""
    command = [sys.executable, "-m", module, *flags]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # The command `unrolled` silences gRPC's core, and tests of it may have run in this process.
    heard = {name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"}
    with subprocess.Popen(command, **pipes, **{"env": heard} | options) as server:
        try:
            yield server
        finally:
            server.kill()


def exit_of(*flags):
    with process(*flags) as server:
        _, errors = server.communicate(timeout=TIMEOUT_S)
        return server.returncode, errors


def address_in(ready_line):
    return ready_line.removeprefix("unrolled-server ready on ").split(" | ")[0]


def long_request():
    """More than a second of products, and a reply within gRPC's default limit."""
    letters = np.random.default_rng(0).integers(0, 26, (1_000, 60)) + ord("a")
    words = [bytes(word.tolist()).decode() for word in letters]
    return pb.ForwardRequest(words=words, hidden_size=1_024, output=pb.OUTPUT_LAST)
