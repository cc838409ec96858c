"""Metrics: documented names and correct counts, from one process and from several."""

import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial

import grpc
import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.call_context import CallInfo
from unrolled_server.embedded import running_server
from unrolled_server.exit_codes import AddressError
from unrolled_server.observability.metrics import MAXIMA
from unrolled_server.observability.multiprocess import DIRECTORY_VARIABLE, WorkerFiles, write_families
from unrolled_server.observability.process_metrics import ready_workers
from unrolled_server.observability.prometheus import MetricsEndpoint
from unrolled_server.process.supervisor import Supervisor
from unrolled_server.settings import Settings
from unrolled_server.transport.address import listeners

from tests.support.processes import needs_ipv6
from tests.support.scrapes import (
    TIMEOUT_S,
    documented_metrics,
    samples_of,
    scrape,
    scraped_families,
    scraped_until,
    value,
)

LESSON = {"words": ["hello", "eolll", "lleel"], "hidden_size": 2, "alphabet": "helo"}


@pytest.fixture(scope="module")
def server():
    with running_server(
        Settings(address="127.0.0.1:0", metrics_address="127.0.0.1:0", max_inflight_gmul=1)
    ) as running:
        yield running


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(server.address) as channel:
        yield ForwardServiceStub(channel)


@pytest.fixture
def grown(server):
    """A function that returns how much a sample has grown since the test began."""
    before = scrape(server.metrics_address)

    def growth(samples, name, **labels):
        return value(samples, name, **labels) - value(before, name, **labels)

    return growth


def serve_metrics(address, *collectors):
    return closing(MetricsEndpoint(address, listeners(address, flag="--metrics-address"), collectors))


def test_a_running_server_exports_the_documented_table_and_nothing_else(server, stub):
    stub.Forward(pb.ForwardRequest(**LESSON))
    list(stub.ForwardStream(iter([pb.ForwardRequest(**LESSON)])))
    scraped_until(server.metrics_address, partial(value, name="unrolled_streams_total", code="OK"))
    exported = {}
    for family in scraped_families(server.metrics_address):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        merge = "max" if family.name in MAXIMA else "sum"
        exported[name] = (family.type, labels, merge, family.documentation)
    documented = {
        metric.name: (metric.kind, set(re.findall(r"\w+", metric.labels)), metric.merge, metric.help)
        for metric in documented_metrics()
    }
    resident = "unrolled_process_resident_memory_bytes"  # exported on Linux alone
    assert exported == {name: row for name, row in documented.items() if name != resident or name in exported}


@pytest.mark.parametrize("metric", documented_metrics(), ids=lambda metric: metric.name)
def test_names_follow_prometheus_conventions(metric):
    unit = metric.unit if metric.unit in {"seconds", "bytes", "multiplications"} else ""
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.removesuffix("_total").endswith(unit)


def test_requests_are_counted_by_method_and_code_and_each_message_of_a_stream_counts(server, stub, grown):
    good, bad = pb.ForwardRequest(**LESSON), pb.ForwardRequest(words=["a"])
    stub.Forward(good)
    with pytest.raises(grpc.RpcError):
        stub.Forward(bad)
    stub.GetServerInfo(pb.GetServerInfoRequest())
    assert len(list(stub.ForwardStream(iter([good, bad, good])))) == 3
    requests = partial(grown, name="unrolled_requests_total")
    samples = scraped_until(
        server.metrics_address, lambda samples: grown(samples, "unrolled_streams_total", code="OK") == 1
    )
    assert requests(samples, method="Forward", code="OK") == 1
    assert requests(samples, method="Forward", code="INVALID_ARGUMENT") == 1
    assert requests(samples, method="GetServerInfo", code="OK") == 1
    assert requests(samples, method="ForwardStream", code="OK") == 2
    assert requests(samples, method="ForwardStream", code="INVALID_ARGUMENT") == 1
    assert grown(samples, "unrolled_request_seconds_count", method="ForwardStream") == 3


def test_hits_are_the_requested_states_that_were_not_computed(server, stub, grown):
    request = {"hidden_size": 3, "seed": 77, "alphabet": "helo"}
    stub.Forward(pb.ForwardRequest(words=["hel"], **request))
    stub.Forward(pb.ForwardRequest(words=["hello", "hell"], **request))
    samples = scrape(server.metrics_address)
    assert grown(samples, "unrolled_prefixes_asked_total") == 3 + 5 + 4
    assert grown(samples, "unrolled_prefixes_computed_total") == 5
    assert grown(samples, "unrolled_words_total") == 3
    assert grown(samples, "unrolled_symbols_total") == 12
    assert value(samples, "unrolled_networks") >= 1


def test_a_symbol_of_a_two_layer_bidirectional_network_requests_four_states(server, stub, grown):
    network = pb.Network(cell=pb.CELL_GRU, num_layers=2, bidirectional=True)
    stub.Forward(pb.ForwardRequest(words=["he"], hidden_size=3, seed=78, alphabet="he", network=network))
    samples = scrape(server.metrics_address)
    assert grown(samples, "unrolled_prefixes_asked_total") == 8
    assert grown(samples, "unrolled_prefixes_computed_total") == 8


def test_a_cached_reply_is_counted_and_requests_no_states(server, stub, grown):
    request = pb.ForwardRequest(words=["kept"], hidden_size=2, seed=79)
    asked = 1
    while stub.Forward(request).HasField("timing"):  # kept once it is answered while nothing else is computed
        asked += 1
        assert asked < 1_000
    samples = scrape(server.metrics_address)
    assert grown(samples, "unrolled_kept_replies_total") == 1
    assert grown(samples, "unrolled_requests_total", method="Forward", code="OK") == asked
    assert grown(samples, "unrolled_queue_seconds_count") == asked - 1
    assert grown(samples, "unrolled_prefixes_computed_total") == 4


def test_batches_count_their_jobs_and_rows(server, stub, grown):
    stub.Forward(pb.ForwardRequest(words=["abc"], hidden_size=1024, seed=80))
    samples = scraped_until(
        server.metrics_address, lambda samples: grown(samples, "unrolled_batch_jobs_count") == 1
    )
    assert grown(samples, "unrolled_batch_jobs_sum") == 1
    assert grown(samples, "unrolled_batch_rows_sum") == 3
    assert grown(samples, "unrolled_compute_busy_seconds_total") > 0


def test_a_refusal_is_counted_by_its_reason(server, stub, grown):
    waiting = server.admission.admit(CallInfo(client="another"), byte_count=1, multiplications=2 * 10**9)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Forward(pb.ForwardRequest(words=["refused"], hidden_size=2))
    waiting.release()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    samples = scrape(server.metrics_address)
    assert grown(samples, "unrolled_refusals_total", reason="work") == 1
    assert grown(samples, "unrolled_refusals_total", reason="bytes") == 0


def test_gauges_show_limits_and_running_work(server, stub):
    info = stub.GetServerInfo(pb.GetServerInfoRequest())
    stub.Forward(pb.ForwardRequest(words=["gauge"], hidden_size=2))
    samples = scrape(server.metrics_address)
    names = ("version", "torch_version", "device", "instruction_set", "fingerprint")
    labels = {name: getattr(info, name) for name in names}
    assert value(samples, "unrolled_build_info", **labels) == 1
    assert value(samples, "unrolled_state_memory_budget_bytes") == 2**30
    assert value(samples, "unrolled_inflight_limit_bytes") == 2**28
    assert value(samples, "unrolled_waiting_limit_multiplications") == 1e9
    assert value(samples, "unrolled_ready_workers") == value(samples, "unrolled_workers") == 1
    assert 0 < value(samples, "unrolled_state_memory_bytes") < 2**30
    assert value(samples, "unrolled_process_cpu_seconds_total") > 0


def test_openmetrics_is_served_on_request(server):
    import urllib.request  # noqa: PLC0415

    headers = {"Accept": "application/openmetrics-text; version=1.0.0"}
    request = urllib.request.Request(f"http://{server.metrics_address}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        text = answer.read().decode()
    assert "openmetrics-text" in answer.headers["Content-Type"]
    assert text.endswith("# EOF\n")


def a_worker(directory, words):
    """A function that runs a process that writes its metrics and ends."""
    script = f"""
from pathlib import Path
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from unrolled_server.observability.counters import Histogram
from unrolled_server.observability.multiprocess import write_families
histogram = Histogram([1.0])
histogram.observe(0.5)
words, nets = CounterMetricFamily("words", "", {words}), GaugeMetricFamily("nets", "", 5)
write_families(Path({str(directory)!r}), [words, nets, histogram.family("s", "")])
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=TIMEOUT_S)


def test_counters_of_dead_workers_stay_and_their_gauges_and_files_are_removed(tmp_path):
    write_families(tmp_path, [CounterMetricFamily("words", "", 1), GaugeMetricFamily("nets", "", 2)])
    workers = WorkerFiles(tmp_path)
    for words in (10, 100):
        a_worker(tmp_path, words)
        workers.collect()
    for _ in range(2):
        assert samples_of(workers.collect()) == {
            ("words_total", ()): 111,
            ("nets", ()): 2,
            ("s_bucket", (("le", "1.0"),)): 2,
            ("s_bucket", (("le", "+Inf"),)): 2,
            ("s_count", ()): 2,
            ("s_sum", ()): 1.0,
        }
    assert [file.stem for file in tmp_path.iterdir()] == [str(os.getpid())]


def test_a_supervisor_exports_its_workers_metrics_and_its_own(tmp_path):
    write_families(tmp_path, [ready_workers(1)])
    supervisor = Supervisor(Settings(workers=2))
    with serve_metrics("127.0.0.1:0", supervisor.collect, WorkerFiles(tmp_path).collect) as endpoint:
        samples = scrape(endpoint.address)
    assert samples == {
        ("unrolled_workers", ()): 2.0,
        ("unrolled_ready_workers", ()): 1.0,
        ("unrolled_worker_restarts_total", ()): 0.0,
    }


def test_a_supervisor_without_live_workers_exports_0_ready_workers(tmp_path):
    supervisor = Supervisor(Settings(workers=2))
    with serve_metrics("127.0.0.1:0", supervisor.collect, WorkerFiles(tmp_path).collect) as endpoint:
        samples = scrape(endpoint.address)
    assert samples["unrolled_workers", ()] == 2
    assert samples["unrolled_ready_workers", ()] == 0


@pytest.mark.long
def test_a_killed_workers_requests_stay_counted(tmp_path):
    """A worker opens no endpoint; its supervisor exports its metrics, also after its death."""
    command = [sys.executable, "-m", "unrolled_server", "--address", "127.0.0.1:0"]
    with (
        serve_metrics("127.0.0.1:0", WorkerFiles(tmp_path).collect) as endpoint,
        subprocess.Popen(
            [*command, "--metrics-address", endpoint.address],
            env={**os.environ, DIRECTORY_VARIABLE: str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        ) as worker,
    ):
        try:
            address = worker.stdout.readline().removeprefix("unrolled-server ready on ").split(" | ")[0]
            with grpc.insecure_channel(address) as channel:
                ForwardServiceStub(channel).Forward(pb.ForwardRequest(**LESSON))
            served = partial(value, name="unrolled_requests_total", method="Forward", code="OK")
            samples = scraped_until(endpoint.address, served)
            assert value(samples, "unrolled_ready_workers") == 1
        finally:
            worker.send_signal(signal.SIGKILL)
        worker.wait(TIMEOUT_S)
        samples = scrape(endpoint.address)
        assert served(samples) == 1
        assert ("unrolled_ready_workers", ()) not in samples


@pytest.mark.parametrize(
    ("address", "why"),
    [("127.0.0.1:70000", ".*0-65535"), ("192.0.2.1:1", "Cannot assign"), ("no-such-host.invalid:1", "")],
)
def test_an_unavailable_metrics_address_is_reported(address, why):
    reason = rf"cannot listen on {address}: {why}.*; choose another --metrics-address"
    with pytest.raises(AddressError, match=reason):
        serve_metrics(address)


def test_a_wildcard_address_is_reachable_by_ipv4():
    with serve_metrics("[::]:0", lambda: [ready_workers(1)]) as endpoint:
        port = endpoint.address.rpartition(":")[2]
        assert value(scrape(f"127.0.0.1:{port}"), "unrolled_ready_workers") == 1


@needs_ipv6
def test_ipv6_addresses_keep_their_brackets():
    with serve_metrics("[::1]:0", lambda: [ready_workers(1)]) as endpoint:
        assert re.fullmatch(r"\[::1\]:[1-9]\d*", endpoint.address)
        assert value(scrape(endpoint.address), "unrolled_ready_workers") == 1


def test_port_0_selects_a_free_port_that_is_logged(caplog):
    with caplog.at_level(logging.INFO), serve_metrics("127.0.0.1:0") as endpoint:
        assert f"metrics on http://{endpoint.address}/metrics" in caplog.messages
        assert not endpoint.address.endswith(":0")


@pytest.mark.long
def test_a_taken_metrics_address_exits_3_before_anything_is_verified(server):
    command = [sys.executable, "-m", "unrolled_server", "--address", "127.0.0.1:0"]
    flags = ("--metrics-address", server.metrics_address)
    run = subprocess.run([*command, *flags], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert run.returncode == 3
    reason = "Address already in use; choose another --metrics-address"
    assert f"cannot listen on {server.metrics_address}: {reason}" in run.stderr


def test_a_supervisor_needs_neither_torch_nor_grpc():
    code = (
        "import sys, unrolled_server.observability.prometheus\n"
        "print({'torch', 'grpc', 'numpy'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=TIMEOUT_S
    )
    assert run.stdout == "set()\n"


@pytest.mark.own_server
def test_without_an_address_nothing_listens(server_address):
    with running_server(Settings(address="127.0.0.1:0")) as server:
        assert server.metrics_address == ""
