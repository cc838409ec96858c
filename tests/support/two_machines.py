"""A Ray cluster of two machines with a core each, played by this one: for tests, and to measure the same."""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

END_S = 120
# Ends with the process that started it, whatever happens: its standard input is a pipe from there.
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
    """HOST:PORT, and the process below which all others of the cluster are."""

    address: str
    process: subprocess.Popen


@contextmanager
def two_machines():
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short, because sockets are in it
        Path(folder, "ray").mkdir()  # where Ray writes the address, and would not make the folder
        command = [sys.executable, "-c", SCRIPT]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, **pipes, text=True, env=environment(RAY_TMPDIR=folder)) as cluster:
            try:
                yield RunningCluster(cluster.stdout.readline().strip(), cluster)
                cluster.communicate(timeout=END_S)
            finally:
                cluster.kill()


def environment(**more):
    """This process's, for Ray that tells nobody that it is used."""
    return {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **more}
