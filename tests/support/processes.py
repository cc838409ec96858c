"""Runs servers in separate processes, for tests of their start and end."""

import os
import random
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest
from unrolled.v1 import forward_pb2 as pb


def _has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")
# A hang guard, long enough for a busy machine.
TIMEOUT_S = 120


@contextmanager
def process(*flags, module="unrolled_server", **options):
    """Runs the command in a separate process; kills it by its process id at the end."""
    command = [sys.executable, "-m", module, *flags]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    # Tests of the command `unrolled` in this process may have set GRPC_VERBOSITY.
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


def free_address():
    """Returns HOST:PORT on which nothing listens, below the ephemeral ports."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise OSError("100 ports between 20000 and 32000 are taken")


def metrics_address_in(server):
    """Returns HOST:PORT of a server process's metrics, from its log."""
    line = next(line for line in server.stderr if "metrics on" in line)
    return line.split("metrics on http://")[1].split("/")[0]


def unread_replies(stub):
    """Opens a stream and reads only its first reply, so that a drain waits for the others."""
    request = pb.ForwardRequest(words=["abcdefgh" * 8] * 48, hidden_size=256)  # a reply of 3 MiB
    replies = stub.ForwardStream(iter([request] * 12))
    next(replies)
    return replies
