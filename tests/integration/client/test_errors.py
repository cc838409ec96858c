"""Statuses to exceptions."""

import asyncio
import pickle

import grpc
import grpc.aio
import pytest
import unrolled_client
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from unrolled_client import Client, FieldViolation, errors
from unrolled_client._messages.request import FORWARD
from unrolled_client._transport.call_errors import error_from_call
from unrolled_client.errors import ERRORS_BY_CODE, error_from_status

FAILURES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.ABORTED}
VIOLATION = BadRequest.FieldViolation(field="hidden_size", description="hidden_size is 0")
RETRY = RetryInfo(retry_delay=Duration(seconds=1, nanos=500_000_000))


def packed(*messages):
    """The messages as the details of a status."""
    details = [Any() for _ in messages]
    for detail, message in zip(details, messages, strict=True):
        detail.Pack(message)
    return details


def aborting(code, *, message="it failed", trailer=b""):
    """An answer that is this status."""

    def answer(_data, context):
        context.set_trailing_metadata((("grpc-status-details-bin", trailer),) if trailer else ())
        context.abort(code, message)

    return answer


def test_the_table_has_every_code():
    """Every status code but OK has its exception."""
    assert set(ERRORS_BY_CODE) == set(FAILURES)


@pytest.mark.parametrize("code", FAILURES)
def test_every_code_arrives_as_its_exception(serve, code):
    """A call that ends with a code raises that code's class, with the server's message."""
    with Client(serve(aborting(code))) as client, pytest.raises(ERRORS_BY_CODE[code]) as caught:
        client.server_info()
    assert caught.value.code is code
    assert "it failed" in caught.value.message
    assert str(caught.value) == caught.value.message
    assert caught.value.is_retryable == (code in RETRYABLE)


def test_details_arrive_with_the_call(serve):
    """BadRequest and RetryInfo in a trailer become violations and a time to come back."""
    trailer = Status(details=packed(BadRequest(field_violations=[VIOLATION]), RETRY)).SerializeToString()
    target = serve(aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, trailer=trailer))
    with Client(target) as client, pytest.raises(unrolled_client.OverloadedError) as caught:
        client.server_info()
    assert caught.value.violations == (FieldViolation(field="hidden_size", description="hidden_size is 0"),)
    assert caught.value.retry_after_s == 1.5
    assert caught.value.is_retryable


def test_details_arrive_with_an_asynchronous_call_too(serve):
    """A failed call of grpc.aio has the same exception."""
    trailer = Status(details=packed(RETRY)).SerializeToString()
    target = serve(aborting(grpc.StatusCode.RESOURCE_EXHAUSTED, trailer=trailer))

    async def failure():
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await channel.unary_unary(FORWARD)(b"")
            return error_from_call(caught.value, target=target)

    error = asyncio.run(failure())
    assert type(error) is unrolled_client.OverloadedError
    assert (error.message, error.retry_after_s) == ("it failed", 1.5)


def test_a_damaged_trailer_leaves_the_status(serve):
    """Details that cannot be read do not hide the code and the message."""
    target = serve(aborting(grpc.StatusCode.INVALID_ARGUMENT, trailer=b"\xff\xff"))
    with Client(target) as client, pytest.raises(unrolled_client.InvalidRequestError, match="it failed"):
        client.server_info()


def test_unknown_and_damaged_details_are_passed_over():
    """A detail of another kind, or one that cannot be read, takes nothing from those beside it."""
    damaged = Any(type_url="type.googleapis.com/google.rpc.BadRequest", value=b"\xff")
    details = [*packed(ErrorInfo(reason="R"), BadRequest(field_violations=[VIOLATION])), damaged]
    error = error_from_status(grpc.StatusCode.INVALID_ARGUMENT, message="no", details=details)
    assert [violation.field for violation in error.violations] == ["hidden_size"]


def test_a_silent_status_still_says_something():
    """Without a message of the server's the exception names the code."""
    assert str(error_from_status(grpc.StatusCode.DATA_LOSS, message="", details=())).endswith("DATA_LOSS")


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.InvalidRequestError, ValueError),
        (errors.UnavailableError, ConnectionError),
        (errors.DeadlineError, TimeoutError),
    ],
)
def test_pythons_own_names_catch_too(error, builtin):
    """Code that catches the built-in exception of the kind needs no import of ours."""
    with pytest.raises(builtin, match="why"):
        raise error("why", code=None)


@pytest.mark.parametrize(
    "kind", {*ERRORS_BY_CODE.values()} - {errors.UnrolledError}, ids=lambda k: k.__name__
)
def test_exceptions_cross_processes(kind):
    """A pickled exception comes back whole."""
    violations = (FieldViolation(field="f", description="d"),)
    error = kind("why", code=grpc.StatusCode.ABORTED, violations=violations, retry_after_s=2.0)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.message, vars(copy)) == ("why", "why", vars(error))


def test_the_drawn_tree_is_the_tree():
    """The module's docstring names every exception of the module, and all are public."""
    kinds = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, Exception)
    ]
    own = [kind.__name__ for kind in kinds if kind.__module__ == errors.__name__]
    assert own
    for name in own:
        assert name in errors.__doc__
        assert name in unrolled_client.__all__


@pytest.mark.parametrize(("told_s", "waited_s"), [(-5, 0.0), (7, 7.0), (1 << 62, 3_600.0)])
def test_a_retry_delay_is_clamped(told_s, waited_s):
    """A negative delay becomes 0, and one of years becomes an hour."""
    details = packed(RetryInfo(retry_delay=Duration(seconds=told_s)))
    error = error_from_status(grpc.StatusCode.UNAVAILABLE, message="busy", details=details)
    assert error.retry_after_s == waited_s
