"""Starts Ray Serve in a separate process for the tests."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

SCRIPT = Path(__file__).with_name("cluster.py")
END_S = 60


@dataclass(frozen=True)
class ServedCluster:
    """A cluster that serves at `address`; `folder` contains its logs."""

    address: str
    script: subprocess.Popen
    folder: Path

    def processes(self, title):
        """Returns Ray's processes with this title."""
        children = psutil.Process(self.script.pid).children(recursive=True)
        return [child for child in children if title in _title(child)]

    @property
    def replicas(self):
        return self.processes("ServeReplica:unrolled:ForwardService")

    @property
    def proxies(self):
        return self.processes("ProxyActor")

    def update(self, **settings):
        """Replaces the replicas by ones with other settings."""
        self.script.stdin.write(json.dumps(settings) + "\n")
        self.script.stdin.flush()

    def answered_counts(self):
        """Returns the number of answered calls in each replica's log."""
        logs = self.folder.glob("ray/session_latest/logs/serve/replica_*.log")
        return {log.name: log.read_text().count("CALL unrolled OK") for log in logs}


@contextmanager
def served_cluster(replicas=2, settings=None) -> Iterator[ServedCluster]:
    """Runs a cluster with `replicas` replicas, each on its own node; removes everything at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))  # Ray's sockets need a short path
    environment = {
        **os.environ,
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        # Otherwise a proxy uses only the replica of its own node until that one is full.
        "RAY_SERVE_PROXY_PREFER_LOCAL_NODE_ROUTING": "0",
        "PYTHONWARNINGS": "ignore",  # Ray's own warnings
    }
    (folder / "ray").mkdir()
    command = [sys.executable, SCRIPT, str(replicas), json.dumps(settings or {})]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, stderr=log, env=environment, **pipes) as script,
    ):
        try:
            address = script.stdout.readline().strip()
            assert address, (folder / "log").read_text()
            yield ServedCluster(address, script, folder)
        finally:
            _end(script)
            shutil.rmtree(folder, ignore_errors=True)


def _end(script):
    family = psutil.Process(script.pid).children(recursive=True)
    script.stdin.close()
    try:
        script.wait(END_S)
    except subprocess.TimeoutExpired:
        script.kill()
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(family, timeout=10)  # otherwise they would write into the folder during its removal


def _title(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""
