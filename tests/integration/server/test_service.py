"""The contract, tested by a plain gRPC client."""

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.rpc.service import SERVICE_NAME

LESSON = ["hello", "eolll", "lleel"]
FIRST_WORD = [-0.7497, -0.6135, -0.5753, -0.0070, -0.9077, -0.3205, -0.9141, -0.2142, -0.8996, 0.3307]
SEQ_FIRST_FIRST_ROW = [
    -0.7497,
    -0.6135,
    -0.5282,
    -0.2473,
    -0.9136,
    -0.4269,
    -0.9136,
    -0.4269,
    -0.9028,
    0.1180,
]


@pytest.fixture
def stub(channel):
    return ForwardServiceStub(channel)


def refusal(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, **kwargs)
    return caught.value


def test_the_lesson_by_plain_protobuf(stub):
    reply = stub.Forward(pb.ForwardRequest(words=LESSON, hidden_size=2, seed=0, id="a"))
    assert [round(value, 4) for value in reply.values[:10]] == FIRST_WORD
    assert (reply.shape, reply.lengths, reply.id) == ([3, 5, 2], [5, 5, 5], "a")
    assert reply.timing.compute_s > 0
    assert not reply.HasField("error")
    assert not reply.index


def test_the_lesson_in_torchs_default_layout(stub):
    reply = stub.Forward(pb.ForwardRequest(words=LESSON, hidden_size=2, layout=pb.LAYOUT_SEQ_FIRST))
    assert [round(value, 4) for value in reply.values[:10]] == SEQ_FIRST_FIRST_ROW
    assert reply.shape == [3, 5, 2]


def test_a_reply_above_grpcs_default_message_size_arrives(stub):
    reply = stub.Forward(pb.ForwardRequest(words=["ab" * 50] * 100, hidden_size=256))
    assert len(reply.values) == 100 * 100 * 256


def test_padding_is_zero_and_starts_at_the_lengths(stub):
    reply = stub.Forward(pb.ForwardRequest(words=["a", "abc"], hidden_size=1))
    assert reply.lengths == [1, 3]
    assert reply.values[1:3] == [0.0, 0.0]
    assert all(reply.values[3:])


def test_a_cached_reply_differs_only_in_timing_and_id(stub):
    request = pb.ForwardRequest(words=["keep", "it"], hidden_size=3, seed=-5)
    computed = stub.Forward(request)
    computed.ClearField("timing")
    for name in ("", "", "a", "b"):
        request.id = name
        kept = stub.Forward(request)
        kept.ClearField("timing")
        assert kept == pb.ForwardReply(
            **{field.name: value for field, value in computed.ListFields()}, id=name
        )


def test_a_bad_request_carries_its_field_violations(stub):
    error = refusal(stub.Forward, pb.ForwardRequest(words=["a"], hidden_size=5000))
    metadata = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    details = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(details)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "hidden_size is 5000; this server allows 1 to 4096"
    assert details.field_violations[0].field == "hidden_size"


def test_a_malformed_message_is_an_invalid_argument(channel):
    error = refusal(channel.unary_unary(f"/{SERVICE_NAME}/Forward"), b"\x0a\x01\xff\x10\x01")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "words[0] is not valid UTF-8" in error.details()


@pytest.mark.parametrize("method", ["Forward", "GetServerInfo"])
def test_an_unknown_field_is_refused_by_every_method(channel, method):
    error = refusal(channel.unary_unary(f"/{SERVICE_NAME}/{method}"), b"\xf8\x06\x01")
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "field 111" in error.details()


def test_unsupported_options_are_unimplemented(stub):
    request = pb.ForwardRequest(
        words=["a"], hidden_size=1, output=pb.OUTPUT_MAX, reply_form=pb.REPLY_FORM_DISTINCT
    )
    error = refusal(stub.Forward, request)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_server_info_describes_what_runs_and_has_the_fingerprint_of_replies(stub):
    info = stub.GetServerInfo(pb.GetServerInfoRequest())
    reply = stub.Forward(pb.ForwardRequest(words=["a"], hidden_size=1))
    assert info.version
    assert info.torch_version
    assert info.device
    assert bool(info.instruction_set) == (info.device == "cpu")
    assert info.limits.max_words == 65_536
    assert reply.fingerprint == info.fingerprint != ""


@pytest.mark.own_server
@pytest.mark.parametrize("service", ["", SERVICE_NAME])
def test_health_is_serving(channel, service):
    reply = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=service))
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_describes_the_service(channel):
    assert SERVICE_NAME in ProtoReflectionDescriptorDatabase(channel).get_services()


@pytest.mark.parametrize(
    "fields", [{"id": "7", "return_final_state": True}, {"id": "é"}, {"id": "x" * 128}], ids=str
)
def test_an_id_comes_back_with_every_reply(stub, fields):
    """Also for a repeated request, and for an id that is not ASCII or not the last field."""
    request = pb.ForwardRequest(words=["again"], hidden_size=2, **fields)
    assert [stub.Forward(request).id for _ in range(4)] == [request.id] * 4
