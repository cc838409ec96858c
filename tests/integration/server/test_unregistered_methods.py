"""Calls of unknown methods are refused, whatever their path, and the server keeps serving."""

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.fault_injection import http2 as h


@pytest.fixture(scope="module")
def server():
    """A server of its own, because a failure may end it."""
    with running_server(Settings(address="127.0.0.1:0")) as server:
        yield server


@pytest.mark.parametrize(
    "path", [b"/unrolled.v1.ForwardService/\xc6", b"\xff", "/\U0001f642".encode()], ids=repr
)
def test_a_path_of_arbitrary_bytes_is_unimplemented_and_does_not_end_the_server(server, path):
    port = int(server.address.rpartition(":")[2])
    said = h.PREFACE + h.settings() + h.call(b"", path=path)
    trailers = [payload for kind, _, _, payload in h.frames_in(h.converse(port, said, patience_s=h.END_S))]
    assert b"grpc-status\x0212" in b"".join(trailers)  # UNIMPLEMENTED
    with grpc.insecure_channel(server.address) as channel:
        reply = ForwardServiceStub(channel).Forward(pb.ForwardRequest(words=["ab"], hidden_size=2))
        assert reply.shape == [1, 2, 2]


def test_many_calls_of_unknown_methods_are_all_unimplemented(server):
    with grpc.insecure_channel(server.address) as channel:
        call = channel.unary_unary("/unrolled.v1.ForwardService/Backward")
        for future in [call.future(b"") for _ in range(200)]:
            assert future.exception().code() is grpc.StatusCode.UNIMPLEMENTED
