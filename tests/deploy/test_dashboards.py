"""Every query of the dashboard and the alerts uses metrics and labels that a running server exports."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("promql_parser")
pytest.importorskip("yaml")

import grpc
import promql_parser
import yaml
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.support.scrapes import scrape

pytestmark = pytest.mark.long

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/unrolled.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
ADDED_BY_PROMETHEUS = {"job", "instance"}
DASHBOARD_QUERIES = {
    f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]
}
VARIABLE_QUERIES = {
    variable["name"]: re.fullmatch(r"label_values\((.*), \w+\)", variable["definition"])[1]
    for variable in DASHBOARD["templating"]["list"]
    if variable["type"] == "query"
}
ALERT_QUERIES = {rule["alert"]: rule["expr"] for rule in RULES}
QUERIES = {**DASHBOARD_QUERIES, **VARIABLE_QUERIES, **ALERT_QUERIES}


@pytest.fixture(scope="module")
def exported():
    """The labels of each metric that a server exports after one call of each kind."""
    with running_server(Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0")) as server:
        with grpc.insecure_channel(server.address) as channel:
            stub = ForwardServiceStub(channel)
            request = pb.ForwardRequest(words=["hello"], hidden_size=2)
            stub.Forward(request)
            list(stub.ForwardStream(iter([request])))
        labels = {}
        for name, items in scrape(server.metrics_address):
            labels.setdefault(name, set()).update(label for label, _ in items)
    return {**labels, "up": set()}


def nodes(expression):
    """Yields an expression and all its parts."""
    yield expression
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        part = getattr(expression, name, None)
        if part is not None:
            yield from nodes(part)
    for part in getattr(expression, "args", None) or ():
        yield from nodes(part)


def parsed(query):
    return list(nodes(promql_parser.parse(query.replace("$__rate_interval", "5m"))))


def metrics_in(query):
    """Returns the metrics in a query, each with the labels of its matchers."""
    selectors = [node for node in parsed(query) if isinstance(node, promql_parser.VectorSelector)]
    return [(selector.name, {m.name for m in selector.matchers.matchers}) for selector in selectors]


def grouped_by(query):
    aggregations = [node for node in parsed(query) if isinstance(node, promql_parser.AggregateExpr)]
    return {label for node in aggregations if node.modifier for label in node.modifier.labels}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_uses_only_exported_metrics_and_labels(name, exported):
    used = metrics_in(QUERIES[name])
    assert used
    for metric, labels in used:
        assert metric in exported
        assert labels <= exported[metric] | ADDED_BY_PROMETHEUS
    known = set().union(*(exported[metric] for metric, _ in used)) | ADDED_BY_PROMETHEUS
    assert grouped_by(QUERIES[name]) <= known


@pytest.mark.parametrize(("query", "metric"), [("sum(rate(nothing_total[5m]))", "nothing_total"), ("a", "a")])
def test_metrics_are_found_anywhere_in_a_query(query, metric):
    wrapped = f"1 - ({query} / on (job) up{{job='x'}}) or vector(0) > 2"
    assert [name for name, _ in metrics_in(wrapped)] == [metric, "up"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_has_a_description_and_a_unit(panel):
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    legends = "".join(target["legendFormat"] for target in panel["targets"])
    labels = set(re.findall(r"{{(\w+)}}", legends))
    assert labels <= set().union(*(grouped_by(target["expr"]) for target in panel["targets"]))


def test_panels_do_not_overlap_and_have_distinct_names():
    taken = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) == 23
    assert len({panel["title"] for panel in PANELS}) == len({panel["id"] for panel in PANELS}) == len(PANELS)


def test_every_dashboard_query_filters_by_the_chosen_jobs_and_instances():
    for query in DASHBOARD_QUERIES.values():
        for _, labels in metrics_in(query):
            assert labels >= ADDED_BY_PROMETHEUS


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_has_a_severity_and_a_description(rule):
    assert rule["alert"].startswith("Unrolled")
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert len(rule["annotations"]["description"]) > 100


def test_settings_in_alerts_exist():
    text = (DEPLOY / "prometheus/alerts.yaml").read_text()
    names = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+[a-z])", text)}
    assert names - {"workers"} <= set(Settings.model_fields)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "command",
    [("check", DEPLOY / "prometheus/alerts.yaml"), ("test", Path(__file__).with_name("alerts_test.yaml"))],
)
def test_promtool_accepts_the_alerts_and_each_fires_on_its_problem(command):
    action, file = command
    run = subprocess.run(["promtool", action, "rules", file], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
