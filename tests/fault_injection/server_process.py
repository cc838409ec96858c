"""A server in a process of its own, and what can be seen of that from outside."""

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
    """What a process takes from its machine."""

    rss_mib: float
    file_count: int
    thread_count: int


class ServerProcess:
    """A child process that serves on loopback from `with` on, and is killed by its id at the end.

    Args:
        flags: More of the command's.
        options: More of Popen's.
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
        """What it wrote to standard error."""
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
        """Seconds of processors that it took since it began."""
        times = self._process.cpu_times()
        return times.user + times.system

    def loop_cpu_s(self):
        """Those of them that its event loop took, which is the process's first thread."""
        return next(sum(thread[1:]) for thread in self._process.threads() if thread.id == self.popen.pid)

    def channel(self):
        """A plain channel of its own connection."""
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
            ("grpc.enable_retries", 0),
        ]
        return grpc.insecure_channel(self.address, options=options)


@contextmanager
def resident_over_time(server, *, every_s):
    """Resident MiB of a process, sampled while this lasts."""
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
    """Somebody who asks small things all the time and knows the right answers' bits."""

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
        """Asks, and fails if the answer is another than before."""
        at = self.answer_count % len(self._requests)
        assert self._bits(self._requests[at]) == self._answers[at]
        self.answer_count += 1

    def _bits(self, request):
        reply = self._stub.Forward(request, timeout=TIMEOUT_S)
        return (list(reply.values), list(reply.shape), list(reply.lengths))
