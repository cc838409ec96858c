"""Runs a server in a separate process and measures it from outside."""

import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import psutil
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub

MIB = 2**20
TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Memory, files and threads of a process."""

    rss_mib: float
    file_count: int
    thread_count: int


class ServerProcess:
    """A server in a child process on loopback, started by `with` and killed at its end.

    Args:
        flags: Further flags of the command.
        options: Further arguments of Popen.
    """

    def __init__(self, *flags, **options):
        command = [sys.executable, "-m", "unrolled_server", "--address", "127.0.0.1:0", "--device", "cpu"]
        self._command = [*command, *flags]
        self._options = options

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        pipes = {"stdout": subprocess.PIPE, "stderr": self.log, "text": True}
        self.popen = subprocess.Popen(self._command, **pipes | self._options)
        line = self.popen.stdout.readline()
        assert line.startswith("unrolled-server ready on "), self.logged()
        self.address = line.removeprefix("unrolled-server ready on ").split(" | ")[0]
        self.port = int(self.address.rpartition(":")[2])
        self._process = psutil.Process(self.popen.pid)
        return self

    def __exit__(self, *_error):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()
        self.log.close()

    @property
    def is_alive(self):
        return self.popen.poll() is None

    def logged(self):
        """Returns the server's standard error so far."""
        self.log.seek(0)
        return self.log.read()

    def footprint(self):
        process = self._process
        return Footprint(
            rss_mib=process.memory_info().rss / MIB,
            file_count=process.num_fds(),
            thread_count=process.num_threads(),
        )

    def cpu_s(self):
        """Returns the processor time of the process in seconds."""
        times = self._process.cpu_times()
        return times.user + times.system

    def loop_cpu_s(self):
        """Returns the processor time of its event loop, which runs in the first thread."""
        return next(sum(thread[1:]) for thread in self._process.threads() if thread.id == self.popen.pid)

    def channel(self):
        """Opens a channel with its own connection."""
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0),
        ]
        return grpc.insecure_channel(self.address, options=options)


@contextmanager
def resident_over_time(server, *, every_s):
    """Samples the resident MiB of a process during the block."""
    samples, done = [], threading.Event()

    def watch():
        while not done.wait(every_s):
            samples.append(server.footprint().rss_mib)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        done.set()
        thread.join()


class GoodClient:
    """A client that repeats a small call and checks the bits of the reply."""

    def __init__(self, server):
        self._channel = server.channel()
        self._stub = ForwardServiceStub(self._channel)
        self._requests = [
            pb.ForwardRequest(words=["hello", "eolll", "lleel"], hidden_size=2),
            pb.ForwardRequest(words=["unrolled"] * 3, hidden_size=16, seed=5),
        ]
        self._answers = [self._bits(request) for request in self._requests]
        self.answer_count = 0

    def close(self):
        self._channel.close()

    def ask(self):
        """Makes the call; fails if the reply differs from earlier ones."""
        at = self.answer_count % len(self._requests)
        assert self._bits(self._requests[at]) == self._answers[at]
        self.answer_count += 1

    def _bits(self, request):
        reply = self._stub.Forward(request, timeout=TIMEOUT_S)
        return (list(reply.values), list(reply.shape), list(reply.lengths))
