"""The OpenTelemetry tracer: how it names this process, how it sends spans and how it ends."""

import ipaddress
import os
import threading
import uuid
from collections.abc import Callable
from importlib.metadata import version
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

MAX_SHUTDOWN_S = 2.0
_DEFAULT_ENDPOINT = "http://localhost:4317"  # OTLP's


def open_tracer() -> tuple[Tracer, Callable[[], None]]:
    """Returns a tracer, whose spans a thread sends in batches, and a function that sends the last spans.

    The function takes at most `MAX_SHUTDOWN_S`, also if no collector answers.
    """
    exporter = OTLPSpanExporter(
        channel_options=_channel_options(),  # type: ignore[arg-type]  # it takes any number of any
    )
    provider = TracerProvider(resource=_resource())
    provider.add_span_processor(BatchSpanProcessor(exporter))

    def close() -> None:
        timer = threading.Timer(MAX_SHUTDOWN_S, exporter.shutdown)
        timer.start()
        try:
            provider.shutdown()
        finally:
            timer.cancel()

    return provider.get_tracer("unrolled_server", version("unrolled")), close


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
