"""Runs a Ray cluster of two nodes with one core each on this machine, for tests and benchmarks."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

END_S = 120
# Ends when its standard input ends, which also happens when the parent process dies.
SCRIPT = """
import sys
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 128 << 20, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@dataclass(frozen=True)
class RunningCluster:
    """HOST:PORT of a cluster, and the parent of its processes."""

    address: str
    process: subprocess.Popen


@contextmanager
def two_machines():
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short, because it contains sockets
        Path(folder, "ray").mkdir()  # Ray writes the address there without creating the folder
        command = [sys.executable, "-c", SCRIPT]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes, text=True, env=environment(RAY_TMPDIR=folder)) as cluster:
            try:
                yield RunningCluster(cluster.stdout.readline().strip(), cluster)
                cluster.communicate(timeout=END_S)
            finally:
                cluster.kill()


def environment(**more):
    """Returns this process's environment, with Ray's usage statistics turned off."""
    return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **more}
