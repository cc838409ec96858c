"""A replica, called as Ray Serve calls it, without a cluster."""

import asyncio
import subprocess
import sys

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.ray_serve.context import LEFT_KEY
from unrolled_server.ray_serve.replica import Replica, refuse_settings_of_serve
from unrolled_server.settings import Settings

REQUEST = pb.ForwardRequest(words=["hello"], hidden_size=2)


class Context:
    """The used part of Serve's context."""

    def __init__(self, *metadata):
        self._metadata = metadata
        self.code = self.details = None
        self.trailing_metadata = []

    def invocation_metadata(self):
        return self._metadata

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def set_code(self, code):
        self.code = code

    def set_details(self, details):
        self.details = details

    def set_trailing_metadata(self, trailing_metadata):
        self.trailing_metadata = trailing_metadata


async def each(*items):
    for item in items:
        yield item


def asked(ask, **settings):
    """Returns the result of `ask(replica)`, then checks that all reservations were released."""

    async def run():
        replica = Replica(Settings(device="cpu", **settings))
        answer = await ask(replica)
        await replica.check_health()
        assert replica._backend.admission.reservation_count == 0
        await replica._backend.close()
        return answer

    return asyncio.run(run())


async def streamed(replica, context, *requests):
    replies = replica.ForwardStream(each(*requests), context)
    return [pb.ForwardReply.FromString(reply.SerializeToString()) async for reply in replies]


def test_unary_and_streamed_replies_are_the_services():
    async def ask(replica):
        message = await replica.Forward(REQUEST.SerializeToString(), Context())
        (reply,) = await streamed(replica, Context(), REQUEST.SerializeToString())
        return pb.ForwardReply.FromString(message.SerializeToString()), reply

    unary, reply = asked(ask)
    assert [round(value, 4) for value in unary.values[:2]] == [-0.7497, -0.6135]
    assert unary.values == reply.values


def test_a_refusal_is_a_status_with_details_and_no_message():
    context = Context()
    wrong = pb.ForwardRequest(words=["a"], hidden_size=0).SerializeToString()
    message = asked(lambda replica: replica.Forward(wrong, context))
    assert message.SerializeToString() == b""
    assert context.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "grpc-status-details-bin" in dict(context.trailing_metadata)


def test_a_message_above_the_limit_is_refused_without_a_retry():
    """As gRPC does without Serve, whose proxy accepts 2 GiB."""
    context, data = Context(), REQUEST.SerializeToString()
    asked(lambda replica: replica.Forward(data, context), max_request_bytes=len(data) - 1)
    assert context.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ("grpc-retry-pushback-ms", "-1") in context.trailing_metadata


def test_on_a_stream_only_the_message_above_the_limit_is_refused():
    context, data = Context(), REQUEST.SerializeToString()
    (reply,) = asked(lambda replica: streamed(replica, context, data), max_request_bytes=len(data) - 1)
    assert reply.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert f"larger than max: {len(data)} bytes" in reply.error.message


def test_work_that_exceeds_the_remaining_time_is_refused():
    """A deadline passed on by the proxy has the effect of a gRPC deadline."""
    context = Context((LEFT_KEY, "0"))
    work = pb.ForwardRequest(words=["ab" * 400] * 400, hidden_size=1_024, output=pb.OUTPUT_LAST)
    message = asked(lambda replica: replica.Forward(work.SerializeToString(), context))
    assert message.SerializeToString() == b""
    assert context.code in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}


def test_a_cancelled_stream_holds_nothing():
    async def ask(replica):
        replies = replica.ForwardStream(each(*[REQUEST.SerializeToString()] * 3), Context())
        await anext(replies)
        await replies.aclose()
        await asyncio.sleep(0)

    asked(ask)


@pytest.mark.parametrize("setting", [{"tokens": "/x"}, {"otel": True}, {"metrics_address": "127.0.0.1:0"}])
def test_a_security_setting_without_effect_is_refused(setting):
    with pytest.raises(ValueError, match=f"{next(iter(setting))} is set, and Ray Serve has the port"):
        refuse_settings_of_serve(Settings(**setting))


@pytest.mark.long
@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "unrolled_server.transport.server, unrolled_server.__main__, unrolled_server.ray_serve.replica",
            "ray",
        ),
        ("unrolled_server.ray_serve.proxy", "torch"),
    ],
)
def test_the_server_does_not_import_ray_nor_the_proxy_torch(modules, absent):
    code = f"import sys, {modules}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
