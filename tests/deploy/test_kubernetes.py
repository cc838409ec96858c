"""The manifests are valid, and agree with each other, the image and the server's settings."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("kubernetes_validate")
pytest.importorskip("promql_parser")
pytest.importorskip("yaml")

import kubernetes_validate
import promql_parser
import yaml
from kubernetes_validate.utils import all_versions
from unrolled_server.settings import Settings

from tests.support.scrapes import documented_metrics

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
OPTIONAL = "podmonitor.yaml"  # its kind belongs to the Prometheus operator
MIB = 2**20
OLDEST = (1, 27)  # with unhealthyPodEvictionPolicy and matchLabelKeys


def documents(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


MANIFESTS = {
    (each["kind"], each["metadata"]["name"]): each
    for name in KUSTOMIZATION["resources"]
    for each in documents(name)
}
SETTINGS = dict(re.findall(r"^(UNROLLED_\w+)=(.*)$", (FOLDER / "settings.env").read_text(), re.MULTILINE))
POD = MANIFESTS["Deployment", "unrolled"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
VERSIONS = [
    version for version in dict.fromkeys(all_versions()) if tuple(map(int, version.split(".")[:2])) >= OLDEST
]
(RULE,) = yaml.safe_load((ROOT / "deploy/prometheus/adapter.yaml").read_text())["rules"]
LOAD_QUERY = RULE["metricsQuery"].replace("<<.GroupBy>>", "pod").replace("<<.LabelMatchers>>", 'pod="one"')


def setting(name):
    return SETTINGS[f"UNROLLED_{name}"]


def port_of(address):
    return int(address.rpartition(":")[2])


def bytes_of(quantity):
    return int(quantity.removesuffix("Gi")) * 1024 * MIB


@pytest.mark.parametrize("version", VERSIONS)
def test_every_manifest_is_valid_without_unknown_fields(version):
    for manifest in MANIFESTS.values():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_every_manifest_except_the_operators_is_applied():
    there = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml", OPTIONAL}
    assert set(KUSTOMIZATION["resources"]) == there
    assert [image["name"] for image in KUSTOMIZATION["images"]] == [CONTAINER["image"]]
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    assert (generated["name"], generated["envs"]) == ("unrolled-settings", ["settings.env"])
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": "unrolled-settings"}}]


@pytest.mark.skipif(not shutil.which("kubectl"), reason="wants kubectl, which has kustomize in it")
def test_kustomize_builds_them_and_gives_the_pods_their_settings():
    built = subprocess.run(["kubectl", "kustomize", FOLDER], capture_output=True, text=True, check=True)
    made = {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(built.stdout)}
    ((kind, name),) = set(made) - set(MANIFESTS)
    assert kind == "ConfigMap"
    assert made[kind, name]["data"] == SETTINGS
    spec = made["Deployment", "unrolled"]["spec"]["template"]["spec"]
    assert spec["containers"][0]["envFrom"] == [{"configMapRef": {"name": name}}]
    assert spec["containers"][0]["image"].startswith("registry.example/unrolled:")
    for manifest in made.values():
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


def test_everything_selects_the_pods():
    labels = POD["metadata"]["labels"]
    selectors = [
        MANIFESTS["Deployment", "unrolled"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["PodDisruptionBudget", "unrolled"]["spec"]["selector"]["matchLabels"],
        MANIFESTS["NetworkPolicy", "unrolled"]["spec"]["podSelector"]["matchLabels"],
        MANIFESTS["Service", "unrolled"]["spec"]["selector"],
        MANIFESTS["Service", "unrolled-pods"]["spec"]["selector"],
        documents(OPTIONAL)[0]["spec"]["selector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in POD["spec"]["topologySpreadConstraints"]),
    ]
    assert [selector for selector in selectors if selector != labels] == []


def test_ports_are_those_of_the_server():
    assert {"grpc": port_of(setting("ADDRESS")), "metrics": port_of(setting("METRICS_ADDRESS"))} == PORTS
    for name in ("unrolled", "unrolled-pods"):
        (port,) = MANIFESTS["Service", name]["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (PORTS["grpc"], "grpc")
    rules = MANIFESTS["NetworkPolicy", "unrolled"]["spec"]["ingress"]
    assert [port["port"] for rule in rules for port in rule["ports"]] == ["grpc", "metrics"]
    assert [each["port"] for each in documents(OPTIONAL)[0]["spec"]["podMetricsEndpoints"]] == ["metrics"]
    assert MANIFESTS["Service", "unrolled-pods"]["spec"]["clusterIP"] == "None"


def test_the_grace_period_is_longer_than_the_drain():
    _, pause_s = CONTAINER["lifecycle"]["preStop"]["exec"]["command"]
    drain_s = float(setting("DRAIN_TIMEOUT_S"))
    assert drain_s == Settings.model_fields["drain_timeout_s"].default
    assert POD["spec"]["terminationGracePeriodSeconds"] >= float(pause_s) + drain_s + 10


def test_the_memory_limit_is_enough_for_the_settings():
    """The rule of docs/operate/deploy.md, including its margin of a fifth."""
    resources = CONTAINER["resources"]
    rule = (300 + 2.4 * int(setting("STATE_MEMORY_MB")) + 2 * int(setting("MAX_INFLIGHT_MB"))) * MIB
    assert bytes_of(resources["limits"]["memory"]) >= 1.2 * rule
    assert resources["requests"]["memory"] == resources["limits"]["memory"]


def test_the_secrets_contain_the_files_in_the_settings():
    (mount,) = (each for each in CONTAINER["volumeMounts"] if each["name"] == "secrets")
    (volume,) = (each for each in POD["spec"]["volumes"] if each["name"] == "secrets")
    files = {setting(name) for name in ("TLS_CERTIFICATE", "TLS_KEY", "TOKENS")}
    assert files == {f"{mount['mountPath']}/{name}" for name in ("tls.crt", "tls.key", "tokens")}
    named = [each["secret"]["name"] for each in volume["projected"]["sources"]]
    assert named == ["unrolled-tls", "unrolled-tokens"]
    assert volume["projected"]["defaultMode"] == 0o440
    assert not [kind for kind, _ in MANIFESTS if kind == "Secret"]


def test_the_container_has_no_privileges():
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert POD["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not POD["spec"]["automountServiceAccountToken"]
    assert not POD["spec"]["enableServiceLinks"]


def test_it_is_the_image_of_the_dockerfile():
    text = (ROOT / "Dockerfile").read_text()
    context = POD["spec"]["securityContext"]
    user = f"{context['runAsUser']}:{context['runAsGroup']}"
    assert f"\nUSER {user}\n" in text
    assert f"\nEXPOSE {PORTS['grpc']}\n" in text
    probe = json.loads(re.search(r"^HEALTHCHECK .* CMD (.*)$", text, re.MULTILINE)[1])
    probes = [CONTAINER[f"{kind}Probe"]["exec"]["command"] for kind in ("startup", "readiness", "liveness")]
    assert probes == [probe] * 3
    (cache,) = (each["mountPath"] for each in CONTAINER["volumeMounts"] if each["name"] == "vectors")
    assert f"UNROLLED_VECTORS_CACHE={cache}\n" in text


def test_the_autoscaler_uses_the_metric_of_the_adapter():
    spec = MANIFESTS["HorizontalPodAutoscaler", "unrolled"]["spec"]
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == RULE["name"]["as"]
    assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "unrolled"}


def test_the_adapter_uses_metrics_of_the_server():
    promql_parser.parse(LOAD_QUERY)
    names = {metric.name for metric in documented_metrics()}
    assert set(re.findall(r"unrolled_\w+", LOAD_QUERY)) <= names
    assert RULE["seriesQuery"].partition("{")[0] in names
