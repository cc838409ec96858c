"""A span for each request, made when it has ended.

A request is a unary call or one message of a stream, as for metrics and logs. So a stream has no span of its
own here: it would tell how long a client kept a connection, be sent when that ends, and its errors are its
messages'. All spans of a stream are children of the caller's span that opened it. That a span is made at the
end keeps the way of a request free of it: begin and end are what the observer has measured.
"""

import time
from collections.abc import Iterable
from importlib.metadata import version

import grpc
from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.observability.counters import OK
from unrolled_server.observability.otel.collector import channel_options
from unrolled_server.observability.otel.ending import send_last
from unrolled_server.observability.otel.resource import SCOPE, own_resource
from unrolled_server.observability.request_observer import Ended

SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name
# What OpenTelemetry's conventions call an error of the server; the others are the caller's.
_SERVER_ERRORS = {
    code.name
    for code in (
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    )
}


class Spans:
    """Makes spans and sends them in batches, from a thread of its own."""

    def __init__(self) -> None:
        self._provider = TracerProvider(resource=own_resource())
        self._exporter = OTLPSpanExporter(
            channel_options=channel_options("TRACES"),  # type: ignore[arg-type]  # it takes any number of any
        )
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer(SCOPE, version("unrolled"))

    def close(self) -> None:
        """Sends what is left, and ends."""
        send_last(self._exporter, self._provider.shutdown)

    def trace(self, ended: Ended) -> None:
        """Makes the span of a request that has ended."""
        end_ns = time.time_ns()
        span = self._tracer.start_span(
            f"{SERVICE}/{ended.method}",
            context=_callers_context(ended.context.invocation_metadata() or ()),
            kind=SpanKind.SERVER,
            start_time=end_ns - int(ended.seconds * 1e9),
        )
        if span.is_recording():
            span.set_attributes(_attributes(ended))
            if ended.code in _SERVER_ERRORS:
                span.set_status(StatusCode.ERROR, ended.code)
        span.end(end_ns)


def _callers_context(metadata: Iterable[tuple[str, str | bytes]]) -> Context:
    """What the caller sent along, by the propagators that OTEL_PROPAGATORS names; W3C's without a word."""
    return propagate.extract({key: value for key, value in metadata if isinstance(value, str)})


def _attributes(ended: Ended) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "rpc.system.name": "grpc",
        "rpc.method": f"{SERVICE}/{ended.method}",
        "rpc.response.status_code": ended.code,
    }
    if ended.code != OK:
        attributes["error.type"] = ended.code
    if ended.request.hidden_size:
        attributes |= {
            "unrolled.words": ended.word_count,
            "unrolled.hidden_size": ended.request.hidden_size,
            "unrolled.cell": _cell(ended.request.network.cell),
            "unrolled.queue_s": ended.timing.queue_s,
            "unrolled.compute_s": ended.timing.compute_s,
        }
    return attributes


def _cell(number: int) -> str:
    """As torch and the SDK name it."""
    known = number in pb.Cell.values()
    name = pb.Cell.Name(number).removeprefix("CELL_").lower() if known else str(number)
    return "rnn" if name == "unspecified" else name
