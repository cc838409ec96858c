"""Runs deploy/ray/serve.yaml on a Ray cluster on this machine, until standard input ends.

It is a separate process, because Ray adds threads, warnings and descriptors, which tests of the client count.
Usage: cluster.py REPLICAS SETTINGS, where SETTINGS is JSON. It prints HOST:PORT once the replicas, one per
node, serve. A line with new settings on standard input replaces the replicas one by one.
"""

import json
import socket
import sys
import time
from pathlib import Path

import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.context import _get_global_client
from ray.serve.schema import ServeDeploySchema

CONFIG = Path(__file__).parents[2] / "deploy/ray/serve.yaml"
NODE = {"num_cpus": 1, "object_store_memory": 256 << 20}
START_S = 60


def free_port():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


def config(replicas, settings, *, ports):
    """Returns the deployed configuration with other ports, a fixed number of replicas, and a log of calls."""
    given = yaml.safe_load(CONFIG.read_text())
    ServeDeploySchema.model_validate(given)
    given["proxy_location"] = "HeadOnly"  # two nodes of one machine can't have one port each
    given["grpc_options"]["port"], given["http_options"]["port"] = ports
    (application,) = given["applications"]
    application["logging_config"]["enable_access_log"] = replicas > 1  # measurements use the deployed setting
    application["args"] |= {"device": "cpu", **settings}
    (deployment,) = application["deployments"]
    del deployment["autoscaling_config"]
    deployment["num_replicas"] = replicas
    deployment["graceful_shutdown_timeout_s"] = 5  # because tests wait for it
    return ServeDeploySchema.model_validate(given)


def start(wanted):
    """Deploys a configuration like `serve run`; returns when it serves."""
    serve.start(
        proxy_location=wanted.proxy_location,
        http_options=wanted.http_options.model_dump(),
        grpc_options=wanted.grpc_options.model_dump(),
    )
    _get_global_client().deploy_apps(wanted, _blocking=False)
    end = time.monotonic() + START_S
    while (status := serve.status().applications["unrolled"]).status != "RUNNING":
        if time.monotonic() > end:
            sys.exit(f"not running after {START_S} s: {status}")
        time.sleep(0.1)


def main(replicas, settings):
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        for _ in range(replicas - 1):
            cluster.add_node(**NODE)
        ray.init(cluster.address, namespace="serve", logging_level="error", log_to_driver=False)
        ports = (free_port(), free_port())
        wanted = config(replicas, settings, ports=ports)
        start(wanted)
        print(f"127.0.0.1:{wanted.grpc_options.port}", flush=True)  # noqa: T201 - for the parent process
        for line in sys.stdin:  # new settings: every replica is replaced
            _get_global_client().deploy_apps(config(replicas, json.loads(line), ports=ports), _blocking=False)
        serve.shutdown()
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
