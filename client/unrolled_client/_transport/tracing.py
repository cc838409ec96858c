"""OpenTelemetry spans of calls, and what servers need to carry them on.

It is a file of its own because it is the only one that imports opentelemetry, and is imported only by clients
that are asked to trace. Spans go where the application has set OpenTelemetry up to send them.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import grpc
from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

_LINKS = context.create_key("unrolled-links")

Metadata = tuple[tuple[str, str], ...]
Method = Callable[..., Any]


class Tracing:
    """Makes a span for each unary call and for each stream. One serves any number of threads and tasks.

    Args:
        metadata: What every call carries beside, if it has no metadata of its own.
    """

    def __init__(self, metadata: Metadata | None) -> None:
        self._metadata = metadata or ()
        self._tracer = trace.get_tracer("unrolled_client", version("unrolled"))

    def unary(self, method: Method, path: str) -> Method:
        """The method, traced; for threads."""

        def call(data: bytes, *, timeout: float | None, metadata: Metadata | None = None) -> Any:
            with self._span(path) as span, _failing(span):
                return method(data, timeout=timeout, metadata=self._carrying(span, metadata))

        return call

    def unary_aio(self, method: Method, path: str) -> Method:
        """The method, traced; for coroutines."""

        async def call(
            data: bytes,
            *,
            timeout: float | None,  # noqa: ASYNC109 - as grpc.aio's
            metadata: Metadata | None = None,
        ) -> Any:
            with self._span(path) as span, _failing(span):
                return await method(data, timeout=timeout, metadata=self._carrying(span, metadata))

        return call

    def stream(self, method: Method, path: str) -> Method:
        """The method, traced until its stream is over; for threads."""

        def call(requests: Any, *, timeout: float | None, metadata: Metadata | None = None) -> Any:
            span = self._start(path)
            stream = method(requests, timeout=timeout, metadata=self._carrying(span, metadata))
            if not stream.add_callback(lambda: _end(span, stream.code())):
                _end(span, stream.code())
            return stream

        return call

    def stream_aio(self, method: Method, path: str) -> Method:
        """The method, traced until its stream is over; for coroutines."""

        def call(requests: Any, *, timeout: float | None, metadata: Metadata | None = None) -> Any:
            span = self._start(path)
            stream = method(requests, timeout=timeout, metadata=self._carrying(span, metadata))
            stream.add_done_callback(lambda stream: _end(span, _code_of_ended(stream)))
            return stream

        return call

    @staticmethod
    def caller() -> Context:
        """Who calls, to be told `of_callers` later."""
        return context.get_current()

    @staticmethod
    @contextmanager
    def of_callers(callers: Sequence[Context]) -> Iterator[None]:
        """Within it, calls are made for all of these: a span has one parent, so it links to the others."""
        first, *others = callers
        spans = [trace.get_current_span(other).get_span_context() for other in others]
        links = [Link(span) for span in spans if span.is_valid]
        token = context.attach(context.set_value(_LINKS, links, first))
        try:
            yield
        finally:
            context.detach(token)

    def _start(self, path: str) -> Span:
        links: Any = context.get_value(_LINKS)
        method = path.removeprefix("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        return self._tracer.start_span(method, kind=SpanKind.CLIENT, attributes=attributes, links=links)

    @contextmanager
    def _span(self, path: str) -> Iterator[Span]:
        span = self._start(path)
        try:
            yield span
        finally:
            span.end()

    def _carrying(self, span: Span, metadata: Metadata | None) -> Metadata:
        """A call's metadata, else that of every call; and the span, as OTEL_PROPAGATORS has it written."""
        carrier: dict[str, str] = {}
        propagate.inject(carrier, context=trace.set_span_in_context(span))
        return (*(metadata or self._metadata), *carrier.items())


@contextmanager
def _failing(span: Span) -> Iterator[None]:
    """Notes how a call ended."""
    try:
        yield
    except grpc.RpcError as error:
        _note(span, error.code())
        raise
    except BaseException:  # cancelled
        _note(span, grpc.StatusCode.CANCELLED)
        raise
    else:
        _note(span, grpc.StatusCode.OK)


def _note(span: Span, code: grpc.StatusCode) -> None:
    span.set_attribute("rpc.response.status_code", code.name)
    if code is not grpc.StatusCode.OK:
        span.set_attribute("error.type", code.name)
        span.set_status(StatusCode.ERROR, code.name)


def _end(span: Span, code: grpc.StatusCode) -> None:
    _note(span, code)
    span.end()


def _code_of_ended(stream: Any) -> grpc.StatusCode:
    """The code of a call that is over: grpc.aio's coroutine gives it then without waiting."""
    asking = stream.code()
    code = grpc.StatusCode.UNKNOWN
    try:
        asking.send(None)
    except StopIteration as answer:
        code = answer.value
    finally:
        asking.close()
    return code
