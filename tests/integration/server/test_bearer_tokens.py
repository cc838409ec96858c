"""Bearer tokens: the file, and access by token."""

import threading

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.call_context import caller_of
from unrolled_server.embedded import running_server
from unrolled_server.rpc import service
from unrolled_server.security.bearer_tokens import TokenFile
from unrolled_server.security.credential_files import CredentialsError
from unrolled_server.settings import Settings

OPS, LAB = "ops-" + "a" * 28, "lab-" + "b" * 28
INFO = pb.GetServerInfoRequest()


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def test_each_token_has_its_name(write_tokens):
    tokens = TokenFile(write_tokens(ops=OPS, lab=LAB))
    assert (tokens.name_of(OPS), tokens.name_of(LAB), tokens.name_of(OPS[:-1])) == ("ops", "lab", None)


def test_comments_and_blank_lines_are_skipped_and_a_name_may_have_two_tokens(tmp_path):
    """With two, an old token and a new one can overlap."""
    file = tmp_path / "tokens"
    file.write_text(f"# who may call\n\n  ops\t{OPS}  \nops {LAB}\n")
    assert [TokenFile(file).name_of(token) for token in (OPS, LAB)] == ["ops", "ops"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "lists no token; write lines NAME TOKEN"),
        ("# ops\n", "lists no token"),
        (f"\n{OPS}\n", "line 2: has 1 words; write NAME TOKEN"),
        (f"ops {OPS} # mine\n", "line 1: has 4 words"),
        (f"o:ps {OPS}\n", "line 1: the name is not 1 to 64 of"),
        ("ops 0123456789abcde\n", "line 1: the token has 15 characters; it must be at least 16 of"),
        (f"ops {OPS}é\n", "line 1: the token has 33 characters"),
        (f"ops {OPS}\nlab {OPS}\n", "has one token twice"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_the_error_of_a_malformed_file_does_not_contain_tokens(tmp_path, content, reason):
    file = tmp_path / "tokens"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CredentialsError) as caught:
        TokenFile(file)
    assert str(caught.value).startswith(f"tokens {file}")
    assert reason in str(caught.value)
    assert OPS not in str(caught.value)


@pytest.fixture
def channel_of(write_tokens, always_looking):
    """A channel to a server with two tokens."""
    settings = Settings(address="127.0.0.1:0", tokens=write_tokens(ops=OPS, lab=LAB))
    with running_server(settings) as server, grpc.insecure_channel(server.address) as channel:
        yield channel


def refusal(call, *args, **kwargs):
    with pytest.raises(grpc.RpcError) as caught:
        list(answer) if hasattr(answer := call(*args, **kwargs), "__next__") else answer
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    return caught.value.details()


def test_a_known_token_opens_every_method(channel_of):
    stub = ForwardServiceStub(channel_of)
    request = pb.ForwardRequest(words=["hi"], hidden_size=2)
    assert stub.GetServerInfo(INFO, metadata=bearer(OPS)).device
    assert stub.Forward(request, metadata=(("authorization", f"bearer  {LAB}"),)).shape
    assert [reply.shape for reply in stub.ForwardStream(iter([request]), metadata=bearer(LAB))]


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((), "wants a token"),
        (bearer("c" * 32), "does not know the token"),
        (bearer(OPS.upper()), "does not know the token"),
        (bearer(f"{OPS} "), None),
        ((("authorization", f"Basic {OPS}"),), "wants a token"),
        ((("authorization", OPS),), "wants a token"),
        (bearer(OPS) + bearer(OPS), "wants a token"),
    ],
)
def test_every_method_except_health_requires_a_known_token(channel_of, metadata, reason):
    stub = ForwardServiceStub(channel_of)
    reflect = channel_of.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    if reason is None:
        assert stub.GetServerInfo(INFO, metadata=metadata).device
        return
    request = pb.ForwardRequest(words=["hi"], hidden_size=2)
    assert reason in refusal(stub.GetServerInfo, INFO, metadata=metadata)
    assert reason in refusal(stub.Forward, request, metadata=metadata)
    assert reason in refusal(stub.ForwardStream, iter([request]), metadata=metadata)
    assert reason in refusal(reflect, iter([b""]), metadata=metadata)
    assert reason in refusal(channel_of.unary_unary("/no.such/Method"), b"", metadata=metadata)
    health = health_pb2_grpc.HealthStub(channel_of).Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_a_refused_stream_ends_before_a_message_is_read(channel_of):
    """The server reads no message of an unauthenticated client."""
    never = threading.Event()
    silent = (never.wait() for _ in range(1))
    assert "wants a token" in refusal(
        channel_of.stream_stream("/unrolled.v1.ForwardService/ForwardStream"), silent
    )
    never.set()


def test_tokens_rotate_without_a_restart(channel_of, write_tokens, caplog):
    """A new token is accepted, a removed one refused; a broken file changes nothing and is logged once."""
    ask = ForwardServiceStub(channel_of).GetServerInfo
    write_tokens(ops="new-" + "d" * 28)
    assert ask(INFO, metadata=bearer("new-" + "d" * 28)).device
    assert "does not know" in refusal(ask, INFO, metadata=bearer(OPS))
    write_tokens(ops="short")
    for _ in range(3):
        assert ask(INFO, metadata=bearer("new-" + "d" * 28)).device
    assert caplog.text.count("the token has 5 characters") == 1


def test_refusals_are_logged_once_and_without_the_token(channel_of, caplog):
    ask = ForwardServiceStub(channel_of).GetServerInfo
    for _ in range(5):
        refusal(ask, INFO, metadata=bearer("guess-" + "e" * 26))
    told = [record.getMessage() for record in caplog.records if "refused a call" in record.getMessage()]
    assert len(told) == 1
    assert told[0].startswith("refused a call of ipv4:127.0.0.1:")
    assert "guess-" not in caplog.text


def test_the_client_is_the_tokens_name_or_the_connection(monkeypatch, write_tokens):
    """Each call has its own client, also for interleaved calls on one connection and for streams."""
    seen = []
    of_unary, of_stream = service.ForwardService.get_server_info, service.ForwardService.forward_stream

    async def info(self, data, context):
        seen.append(caller_of(context))
        return await of_unary(self, data, context)

    async def stream(self, requests, context):
        seen.append(caller_of(context))
        return await of_stream(self, requests, context)

    monkeypatch.setattr(service.ForwardService, "get_server_info", info)
    monkeypatch.setattr(service.ForwardService, "forward_stream", stream)
    for tokens in (write_tokens(ops=OPS, lab=LAB), None):
        with (
            running_server(Settings(address="127.0.0.1:0", tokens=tokens)) as server,
            grpc.insecure_channel(server.address) as channel,
        ):
            stub = ForwardServiceStub(channel)
            calls = [stub.GetServerInfo.future(INFO, metadata=bearer(token)) for token in (OPS, LAB) * 10]
            assert all(call.result().device for call in calls)
            list(stub.ForwardStream(iter([]), metadata=bearer(LAB)))
    with_tokens, without = seen[:21], seen[21:]
    assert sorted(with_tokens) == ["token:lab"] * 11 + ["token:ops"] * 10
    assert len(set(without)) == 1
    assert without[0].startswith("ipv4:127.0.0.1:")
