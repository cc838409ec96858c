"""A traced client's calls are spans of the caller's trace, and servers receive their context."""

import asyncio
import sys
import time

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from unrolled_client import AsyncClient, Client, InvalidRequestError, UnavailableError

TIMEOUT_S = 120
FORWARD = "unrolled.v1.ForwardService/Forward"
FORWARD_STREAM = "unrolled.v1.ForwardService/ForwardStream"


@pytest.fixture
def spans_named(exporter):
    """Waits for so many ended spans of a name."""
    exporter.clear()

    def wait(name, count=1):
        until_s = time.monotonic() + TIMEOUT_S
        while len(found := [span for span in exporter.get_finished_spans() if span.name == name]) < count:
            assert time.monotonic() < until_s
        return found

    return wait


class Server:
    """Answers, and keeps the traceparent and the token that each call came with."""

    def __init__(self, reply_to):
        self._reply_to = reply_to
        self.told = []

    def unary(self, data, context):
        self._keep(context)
        if b"fail" in data:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "as asked")
        return self._reply_to(data)

    def stream(self, requests, context):
        self._keep(context)
        for data in requests:
            yield self._reply_to(data)

    def _keep(self, context):
        metadata = dict(context.invocation_metadata())
        self.told.append((metadata.get("traceparent"), metadata.get("authorization")))


@pytest.fixture
def server(reply_to):
    return Server(reply_to)


def traceparent(span):
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def in_a_span(name="app"):
    return trace.get_tracer("app").start_as_current_span(name)


def test_a_call_is_a_child_of_the_callers_span_and_its_context_reaches_the_server(
    make_client, serve, server, spans_named
):
    with make_client(serve(server.unary), tracing=True, token="t") as client, in_a_span() as app:
        client.forward(["a"], hidden_size=1, alphabet="a")
    (span,) = spans_named(FORWARD)
    assert span.parent.span_id == app.get_span_context().span_id
    assert span.context.trace_id == app.get_span_context().trace_id
    assert server.told == [(traceparent(span), "Bearer t")]
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes) == {
        "rpc.system.name": "grpc",
        "rpc.method": FORWARD,
        "rpc.response.status_code": "OK",
    }


def test_a_stream_is_one_span_until_it_is_over(make_client, serve_stream, server, spans_named):
    with make_client(serve_stream(server.stream), tracing=True) as client, in_a_span() as app:
        assert len(list(client.map([["a"], ["ab"]], hidden_size=1, alphabet="ab"))) == 2
        (span,) = spans_named(FORWARD_STREAM)
    assert span.parent.span_id == app.get_span_context().span_id
    assert server.told == [(traceparent(span), None)]
    assert span.attributes["rpc.response.status_code"] == "OK"


def test_a_failed_call_is_a_failed_span(make_client, serve, server, spans_named):
    with make_client(serve(server.unary), tracing=True) as client, pytest.raises(InvalidRequestError):
        client.forward(["fail"], hidden_size=1, alphabet="fail")
    (span,) = spans_named(FORWARD)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["rpc.response.status_code"] == "INVALID_ARGUMENT"
    assert not span.events


def test_a_stream_that_cannot_be_opened_is_a_failed_span(make_client, serve_stream, spans_named):
    def answer(_requests, context):
        context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        yield b""

    with make_client(serve_stream(answer), tracing=True) as client, pytest.raises(UnavailableError):
        list(client.map([["a"]], hidden_size=1, alphabet="a"))
    spans = spans_named(FORWARD_STREAM, count=5)
    # A write that fails because the stream has ended is INTERNAL in grpc.aio's words.
    assert {span.attributes["rpc.response.status_code"] for span in spans} <= {"UNAVAILABLE", "INTERNAL"}


def test_a_stream_that_is_left_early_ends_its_span(serve_stream, server, spans_named):
    with Client(serve_stream(server.stream), tracing=True) as client:
        outcomes = client.map((["a"] for _ in range(10)), hidden_size=1, alphabet="a", max_in_flight=2)
        next(outcomes)
        outcomes.close()
        (span,) = spans_named(FORWARD_STREAM)
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"


def test_a_cancelled_call_ends_its_span(serve, spans_named):
    async def scenario(target):
        async with AsyncClient(target, tracing=True, merge=False) as client:
            call = asyncio.create_task(client.forward(["a"], hidden_size=1, alphabet="a"))
            await asyncio.to_thread(arrived.wait)
            call.cancel()
            await asyncio.wait([call])

    from threading import Event  # noqa: PLC0415

    arrived, never = Event(), Event()

    def answer(_data, _context):
        arrived.set()
        never.wait(TIMEOUT_S)
        return b""

    target = serve(answer)
    try:
        asyncio.run(scenario(target))
    finally:
        never.set()
    (span,) = spans_named(FORWARD)
    assert span.attributes["rpc.response.status_code"] == "CANCELLED"


def test_calls_that_travel_together_have_one_span_of_the_first_that_links_to_the_others(
    serve, server, spans_named
):
    async def ask(client, word):
        with in_a_span(word) as span:
            await client.forward([word], hidden_size=1, alphabet="abc")
        return span.get_span_context()

    async def scenario(target):
        async with AsyncClient(target, tracing=True) as client:
            together = await asyncio.gather(*(ask(client, word) for word in "abc"))
            return together, await ask(client, "b")

    together, alone = asyncio.run(scenario(serve(server.unary)))
    merged, single = spans_named(FORWARD, count=2)
    assert merged.parent.span_id == together[0].span_id
    assert [link.context.span_id for link in merged.links] == [caller.span_id for caller in together[1:]]
    assert (single.parent.span_id, single.links) == (alone.span_id, ())


def test_without_tracing_nothing_is_sent_along(make_client, serve, server, exporter):
    exporter.clear()
    with make_client(serve(server.unary)) as client, in_a_span():
        client.forward(["a"], hidden_size=1, alphabet="a")
    assert server.told == [(None, None)]
    assert [span.name for span in exporter.get_finished_spans()] == ["app"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_without_opentelemetry_a_traced_client_says_what_to_install(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "unrolled_client._transport.tracing", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'unrolled\[otel\]'"):
        kind(tracing=True)
