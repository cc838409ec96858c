"""The contract at Ray Serve's proxy, with a plain function as Serve's handler."""

import asyncio
import json

import grpc
import grpc.aio
import pytest
from unrolled_server.ray_serve import proxy
from unrolled_server.ray_serve.context import LEFT_KEY, deadline_in, with_time_left

FORWARD = "/unrolled.v1.ForwardService/Forward"
FORWARD_STREAM = "/unrolled.v1.ForwardService/ForwardStream"
DETAILS = ("grpc-status-details-bin", b"ours")
RETRIES = {
    "maxAttempts": 3,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.01s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
CONFIG = {"methodConfig": [{"name": [{"service": "unrolled.v1.ForwardService"}], "retryPolicy": RETRIES}]}


class Proxy:
    """A stand-in for Serve's proxy, which replaces the handlers in `_method_handlers` by its own."""

    def __init__(self, server, **answers):
        self._server = server
        self._answers = answers

    def add_generic_rpc_handlers(self, handlers):
        (handler,) = handlers
        handler._method_handlers = {
            name: method._replace(**self._answers) for name, method in handler._method_handlers.items()
        }
        self._server.add_generic_rpc_handlers(handlers)


def asked(ask, **answers):
    """Returns the result of `ask(channel)` at a proxy with these handlers."""

    async def run():
        server = grpc.aio.server()
        proxy.add_forward_service(None, Proxy(server, **answers))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        options = [("grpc.service_config", json.dumps(CONFIG))]
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
                return await ask(channel)
        finally:
            await server.stop(None)

    return asyncio.run(run())


def ending(code, *trailing_metadata, calls):
    """Returns a handler that fails as Serve does: it sets the status and returns an empty message."""

    async def serve(_request, context):
        calls.append(context)
        context.set_code(code)
        context.set_details("why")
        context.set_trailing_metadata(trailing_metadata)
        return b""

    return serve


async def refusal(channel):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary(FORWARD)(b"")
    return caught.value


def test_bytes_pass_unchanged_in_both_directions():
    async def serve(request, _context):
        return request[::-1]

    reply = asked(lambda channel: channel.unary_unary(FORWARD)(b"\xff\x00a"), unary_unary=serve)
    assert reply == b"a\x00\xff"


def test_grpc_retries_an_overloaded_call():
    """The refusal must have no message: after one, even if empty, gRPC would not retry."""
    calls = []
    serve = ending(grpc.StatusCode.RESOURCE_EXHAUSTED, DETAILS, calls=calls)
    error = asked(refusal, unary_unary=serve)
    assert (error.code(), error.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "why")
    assert dict(error.trailing_metadata())["grpc-status-details-bin"] == b"ours"
    assert len(calls) == RETRIES["maxAttempts"]


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.INTERNAL, proxy.LOST),
        (grpc.StatusCode.NOT_FOUND, "why"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "why"),
    ],
)
def test_temporary_errors_of_serve_itself_are_retried(code, details):
    calls = []
    error = asked(refusal, unary_unary=ending(code, calls=calls))
    assert (error.code(), error.details()) == (grpc.StatusCode.UNAVAILABLE, details)
    assert len(calls) == RETRIES["maxAttempts"]


def test_an_error_of_the_server_is_not_retried():
    calls = []
    error = asked(refusal, unary_unary=ending(grpc.StatusCode.INTERNAL, DETAILS, calls=calls))
    assert (error.code(), error.details(), len(calls)) == (grpc.StatusCode.INTERNAL, "why", 1)


def test_a_streams_status_comes_after_its_replies_and_without_a_message():
    async def serve(requests, context):
        async for request in requests:
            yield request
        context.set_code(grpc.StatusCode.UNAVAILABLE)
        context.set_details("later")
        yield b""

    async def ask(channel):
        call = channel.stream_stream(FORWARD_STREAM)(iter([b"a", b"b"]))
        replies = [await call.read(), await call.read()]
        with pytest.raises(grpc.aio.AioRpcError, match="later"):
            await call.read()
        return replies

    assert asked(ask, stream_stream=serve) == [b"a", b"b"]


def test_the_remaining_time_is_passed_on_and_clients_cannot_forge_it():
    seen = []

    async def serve(_request, context):
        seen.append(dict(context.invocation_metadata()).get(LEFT_KEY))
        return b""

    async def ask(channel):
        call = channel.unary_unary(FORWARD)
        await call(b"", timeout=20)
        await call(b"", metadata=[(LEFT_KEY, "5")])

    asked(ask, unary_unary=serve)
    told, untold = seen
    assert 0 < int(told) <= 21_000  # gRPC rounds what it sends up
    assert untold is None


def test_without_remaining_time_there_is_no_deadline():
    assert deadline_in(with_time_left([("a", "b")], None)) is None


def test_other_services_are_unimplemented():
    async def ask(channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary("/other.Service/Forward")(b"")
        return caught.value.code()

    assert asked(ask) is grpc.StatusCode.UNIMPLEMENTED
