"""OpenTelemetry spans of calls, and the metadata that carries them to servers.

Only traced clients import this module, because opentelemetry is an extra.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import grpc
import grpc.aio
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

from unrolled_client._transport.endpoint import Metadata

_LINKS = context.create_key("unrolled-links")


class Tracing:
    """Makes a span for each unary call and each stream, by the application's provider. Thread-safe."""

    def __init__(self) -> None:
        self._tracer = trace.get_tracer("unrolled_client", version("unrolled"))

    @contextmanager
    def call(self, path: str, metadata: Metadata | None) -> Iterator[Metadata]:
        """Spans a unary call; yields the metadata that carries the span along."""
        span, metadata = self.start(path, metadata)
        code = grpc.StatusCode.CANCELLED
        try:
            yield metadata
            code = grpc.StatusCode.OK
        except grpc.RpcError as error:
            code = error.code()
            raise
        finally:
            _end(span, code)

    def start(self, path: str, metadata: Metadata | None) -> tuple[Span, Metadata]:
        """Starts a span; returns it and the metadata that carries it along, as OTEL_PROPAGATORS says."""
        links: Any = context.get_value(_LINKS)
        method = path.removeprefix("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        span = self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes, links=links)
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        return span, (*(metadata or ()), *carrier.items())

    @staticmethod
    def end_with_stream(span: Span, stream: Any) -> None:
        """Ends the span when the stream of grpc or grpc.aio ends."""
        if isinstance(stream, grpc.aio.Call):
            stream.add_done_callback(lambda stream: _end(span, _code_of_ended(stream)))
        elif not stream.add_callback(lambda: _end(span, stream.code())):
            _end(span, stream.code())

    @staticmethod
    def current_caller() -> Context:
        """Returns the context of the caller, for `on_behalf_of`."""
        return context.get_current()

    @staticmethod
    @contextmanager
    def on_behalf_of(callers: Sequence[Context]) -> Iterator[None]:
        """Makes calls within it for several callers: a span has one parent, so it links to the others."""
        first, *others = callers
        spans = [trace.get_current_span(other).get_span_context() for other in others]
        links = [Link(span) for span in spans if span.is_valid]
        token = context.attach(context.set_value(_LINKS, links, first))
        try:
            yield
        finally:
            context.detach(token)


def _end(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        span.set_attribute("error.type", code.name)
        span.set_status(StatusCode.ERROR, code.name)
    span.end()


def _code_of_ended(stream: Any) -> grpc.StatusCode:
    """Returns the code of a call that has ended: grpc.aio's coroutine then returns without waiting."""
    coroutine = stream.code()
    code = grpc.StatusCode.UNKNOWN
    try:
        coroutine.send(None)
    except StopIteration as answer:
        code = answer.value
    finally:
        coroutine.close()
    return code
