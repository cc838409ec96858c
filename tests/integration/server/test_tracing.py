"""A server with --otel exports a span for each request as OTEL_* configures."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.settings import Settings, model

from tests.integration.server.test_serve import address_in, process

TIMEOUT_S = 120
SERVICE = "unrolled.v1.ForwardService"
CALLER = f"00-{RandomIdGenerator().generate_trace_id():032x}-00f067aa0ba902b7-01"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Stores the spans that it receives by OTLP."""

    def __init__(self):
        self.spans = []
        self.resources = []

    def Export(self, request, _context):  # noqa: N802 - gRPC's name of it
        for sent in request.resource_spans:
            self.resources.append({item.key: item.value.string_value for item in sent.resource.attributes})
            self.spans += [span for scope in sent.scope_spans for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def collecting():
    """Yields a collector on a free port, and the environment variables that point to it."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}"}
    finally:
        server.stop(grace=None).wait()


def ask_everything(channel):
    """Four requests: three in the caller's trace, one of which fails, and one in none."""
    stub = ForwardServiceStub(channel)
    request = pb.ForwardRequest(words=["s3cret", "a"], hidden_size=4, network=pb.Network(cell=pb.CELL_LSTM))
    within = (("traceparent", CALLER),)
    stub.Forward(request, metadata=within)
    with pytest.raises(grpc.RpcError):
        stub.Forward(pb.ForwardRequest(words=["a"], hidden_size=-1), metadata=within)
    streamed = pb.ForwardRequest(words=["a", "b", "c"], hidden_size=3)
    assert len(list(stub.ForwardStream(iter([streamed]), metadata=within))) == 1
    stub.GetServerInfo(pb.GetServerInfoRequest())


@pytest.fixture(scope="module")
def collected():
    """The spans that a server exported, without the unreachable proxy of its environment."""
    flags = ("--address", "127.0.0.1:0", "--otel", "--log-level", "error")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy"), "http://127.0.0.1:1")
    with collecting() as (collector, environment):
        with process(*flags, env=environment | proxies) as server:
            with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
                ask_everything(channel)
            server.terminate()
            _, errors = server.communicate(timeout=TIMEOUT_S)
        assert (server.returncode, errors) == (0, "")
        yield collector


def attributes(span):
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value") or "string_value")
        for item in span.attributes
    }


def test_each_request_is_a_server_span_in_its_callers_trace(collected):
    _, trace_id, span_id, _ = CALLER.split("-")
    within = [span for span in collected.spans if span.trace_id.hex() == trace_id]
    assert {span.kind for span in collected.spans} == {Span.SPAN_KIND_SERVER}
    assert {span.parent_span_id.hex() for span in within} == {span_id}
    names = [span.name for span in within]
    assert names == [f"{SERVICE}/Forward", f"{SERVICE}/Forward", f"{SERVICE}/ForwardStream"]
    (alone,) = [span for span in collected.spans if span.trace_id.hex() != trace_id]
    assert (alone.name, alone.parent_span_id) == (f"{SERVICE}/GetServerInfo", b"")


def test_a_span_has_the_parameters_and_times_of_its_request(collected):
    told = attributes(collected.spans[0])
    seconds = (collected.spans[0].end_time_unix_nano - collected.spans[0].start_time_unix_nano) / 1e9
    queue_s, compute_s = told.pop("unrolled.queue_s"), told.pop("unrolled.compute_s")
    assert 0 <= queue_s < seconds
    assert 0 < compute_s < seconds
    assert told == {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/Forward",
        "rpc.response.status_code": "OK",
        "unrolled.words": 2,
        "unrolled.hidden_size": 4,
        "unrolled.cell": "lstm",
    }
    assert attributes(collected.spans[2])["unrolled.cell"] == "rnn"
    assert "s3cret" not in str(collected.spans)


def test_an_invalid_request_is_not_an_error_of_the_server(collected):
    refused = collected.spans[1]
    told = attributes(refused)
    assert told["rpc.response.status_code"] == told["error.type"] == "INVALID_ARGUMENT"
    assert refused.status.code == Status.STATUS_CODE_UNSET


@pytest.mark.long
def test_the_default_service_name_is_that_of_the_server(collected):
    for resource in collected.resources:
        assert resource["service.name"] == "unrolled-server"
        assert resource["service.version"]
        assert resource["service.instance.id"]


@pytest.mark.long
def test_the_environment_can_set_the_service_name():
    with collecting() as (collector, environment):
        environment["OTEL_SERVICE_NAME"] = "encoders"
        with process("--address", "127.0.0.1:0", "--otel", env=environment) as server:
            with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
                ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
            server.terminate()
            assert server.wait(TIMEOUT_S) == 0
    assert {resource["service.name"] for resource in collector.resources} == {"encoders"}


@pytest.mark.long
def test_an_absent_collector_does_not_delay_shutdown():
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with process("--address", "127.0.0.1:0", "--otel", env=environment) as server:
        with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
            ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
        server.terminate()
        assert server.wait(TIMEOUT_S) == 0


def test_without_its_packages_otel_is_a_wrong_setting(monkeypatch):
    monkeypatch.setattr(model, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match=r"pip install 'unrolled\[otel\]'"):
        Settings(otel=True)
    assert not Settings().otel


@pytest.mark.long
def test_a_server_without_otel_does_not_load_opentelemetry():
    code = (
        "import sys, unrolled_server.process.serve; print([n for n in sys.modules if 'opentelemetry' in n])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


APPLICATION = """
import asyncio, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from unrolled_client import AsyncClient, Client

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)

async def ask():
    async with AsyncClient(sys.argv[1], tracing=True) as client:
        await client.forward(["a"], hidden_size=1, alphabet="a")

with trace.get_tracer("app").start_as_current_span("app"):
    with Client(sys.argv[1], tracing=True) as client:
        client.forward(["a"], hidden_size=1, alphabet="a")
        list(client.map([["a"], ["b"]], hidden_size=1, alphabet="ab"))
    asyncio.run(ask())
provider.shutdown()
"""


@pytest.mark.long
def test_one_trace_leads_from_an_application_through_the_sdk_to_the_server():
    with (
        collecting() as (collector, environment),
        process("--address", "127.0.0.1:0", "--otel", env=environment) as server,
    ):
        command = [sys.executable, "-c", APPLICATION, address_in(server.stdout.readline())]
        subprocess.run(command, check=True, env=environment, timeout=TIMEOUT_S)
        server.terminate()
        assert server.wait(TIMEOUT_S) == 0
    by_id = {span.span_id: span for span in collector.spans}

    def way_to(span):
        parent = by_id.get(span.parent_span_id)
        return (*(way_to(parent) if parent else ()), (span.name.rpartition("/")[2], span.kind))

    app, client, server = Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER
    ways = sorted(way_to(span) for span in collector.spans if span.kind == server)
    assert ways == sorted(
        (("app", app), (method, client), (method, server))
        for method in ("Forward", "Forward", "ForwardStream", "ForwardStream", "GetServerInfo")
    )
    assert len({span.trace_id for span in collector.spans}) == 1
