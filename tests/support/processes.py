"""Servers in processes of their own, for tests of how they start and end."""

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
# A hang guard, so long that a busy machine doesn't meet it.
TIMEOUT_S = 120


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


def free_address():
    """HOST:PORT on which nothing listens, below the ports that systems give to outgoing connections."""
    for port in random.sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return f"127.0.0.1:{port}"
    raise OSError("100 ports between 20000 and 32000 are taken")


def metrics_address_in(server):
    """HOST:PORT of the metrics of a server process, from its log."""
    line = next(line for line in server.stderr if "metrics on" in line)
    return line.split("metrics on http://")[1].split("/")[0]


def unread_replies(stub):
    """A stream whose replies, beyond the first, the client does not read: a drain waits for it."""
    request = pb.ForwardRequest(words=["abcdefgh" * 8] * 48, hidden_size=256)  # 3 MiB of reply
    replies = stub.ForwardStream(iter([request] * 12))
    next(replies)
    return replies
