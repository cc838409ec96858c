"""A span for each request: a unary call, or one message of a stream.

A stream has no span of its own: it lasts as long as its client likes, and its errors are its messages'.
"""

import time
from collections.abc import Iterable

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.observability.counters import OK
from unrolled_server.observability.otel.provider import open_tracer
from unrolled_server.observability.request_observer import FinishedRequest

SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name
# The status codes that OpenTelemetry's conventions call an error of the server.
_SERVER_ERRORS = {
    "UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
}  # fmt: skip


class RequestTracer:
    """Makes each request's span after its end, when it delays the reply no more. `close` sends the last."""

    def __init__(self) -> None:
        self._tracer, self.close = open_tracer()

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
