"""Envoy's configuration hashes the SDK's header and targets the pods; Envoy itself does not run."""

from pathlib import Path

import pytest

pytest.importorskip("yaml")

import yaml
from unrolled_client._transport.endpoint import NETWORK_HEADER

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
CONFIG = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())["static_resources"]
(LISTENER,), (CLUSTER,) = CONFIG["listeners"], CONFIG["clusters"]
SERVICES = {
    service["metadata"]["name"]: service
    for service in yaml.safe_load_all((ROOT / "deploy/kubernetes/service.yaml").read_text())
}


def test_every_route_hashes_the_header_that_clients_send():
    (chain,) = LISTENER["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    routes = [route for host in manager["route_config"]["virtual_hosts"] for route in host["routes"]]
    assert routes
    for route in routes:
        assert route["route"]["hash_policy"] == [{"header": {"header_name": NETWORK_HEADER}}]
        assert route["route"]["cluster"] == CLUSTER["name"]


def test_the_cluster_is_the_headless_service():
    (locality,) = CLUSTER["load_assignment"]["endpoints"]
    (endpoint,) = [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]]
    service = SERVICES[endpoint["address"]]
    assert service["spec"]["clusterIP"] == "None"
    assert endpoint["port_value"] in {port["port"] for port in service["spec"]["ports"]}
    assert CLUSTER["lb_policy"] == "RING_HASH"
    assert CLUSTER["type"] == "STRICT_DNS"
