"""OpenTelemetry traces: a span for each request, a unary call or one message of a stream, sent by OTLP.

A stream has no span of its own: it lasts as long as its client likes, and its errors are its messages'.
"""

import ipaddress
import os
import threading
import time
import uuid
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.observability.counters import OK
from unrolled_server.observability.request_observer import FinishedRequest

SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name
# The status codes that OpenTelemetry's conventions call an error of the server.
_SERVER_ERRORS = {
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip
MAX_SHUTDOWN_S = 2.0
_DEFAULT_ENDPOINT = "http://localhost:4317"  # OTLP's


class RequestTracer:
    """Makes each request's span after its end, when it delays the reply no more; a thread sends them."""

    def __init__(self) -> None:
        options: Any = _channel_options()  # the stubs want exactly one
        self._exporter = OTLPSpanExporter(channel_options=options)
        self._provider = TracerProvider(resource=_resource())
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("unrolled_server", version("unrolled"))

    def close(self) -> None:
        """Sends the last spans, in at most `MAX_SHUTDOWN_S`, also if no collector answers."""
        timer = threading.Timer(MAX_SHUTDOWN_S, self._exporter.shutdown)
        timer.start()
        try:
            self._provider.shutdown()
        finally:
            timer.cancel()

    def trace(self, finished: FinishedRequest) -> None:
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{SERVICE}/{finished.method}",
            context=_callers_context(finished.context.invocation_metadata() or ()),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(finished.seconds * 1e9),
        )
        if span.is_recording():
            span.set_attributes(_attributes(finished))
            if finished.code in _SERVER_ERRORS:
                span.set_status(StatusCode.ERROR, finished.code)
        span.end(end_ns)


def _callers_context(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """Returns the caller's span context, read by the propagators of OTEL_PROPAGATORS (W3C by default)."""
    return propagate.extract({key: value for key, value in metadata if isinstance(value, str)})


def _attributes(finished: FinishedRequest) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/{finished.method}",
        "rpc.response.status_code": finished.code,
    }
    if finished.code != OK:
        attributes["error.type"] = finished.code
    if finished.request.hidden_size:
        attributes |= {
            "unrolled.words": finished.word_count,
            "unrolled.hidden_size": finished.request.hidden_size,
            "unrolled.cell": _cell_name(finished.request.network.cell),
            "unrolled.queue_s": finished.timing.queue_s,
            "unrolled.compute_s": finished.timing.compute_s,
        }
    return attributes


def _cell_name(number: int) -> str:
    """Returns the name that torch and the SDK use."""
    is_known = number in pb.Cell.values()
    name = pb.Cell.Name(number).removeprefix("CELL_").lower() if is_known else str(number)
    return "rnn" if name == "unspecified" else name


def _resource() -> Resource:
    attributes = {"service.version": version("unrolled")}
    given = f"{os.environ.get('OTEL_RESOURCE_ATTRIBUTES', '')},"
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in given:
        attributes["service.name"] = "unrolled-server"
    if "service.instance.id=" not in given:
        attributes["service.instance.id"] = str(uuid.uuid4())  # differs between workers of one server
    return Resource.create(attributes)


def _channel_options() -> tuple[tuple[str, int], ...]:
    """Returns gRPC's options for the collector: no proxy if it is on this machine.

    gRPC takes the proxy that the environment names for loopback addresses too, which a proxy cannot reach.
    """
    variables = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    endpoint = next(filter(None, map(os.environ.get, variables)), _DEFAULT_ENDPOINT)
    host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname
    return (("grpc.enable_http_proxy", 0),) if _is_loopback(host or "") else ()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
