"""The limits of channel_args, seen by a client without a gRPC library."""

import socket
import struct
import threading
from contextlib import closing, contextmanager

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_client._transport.endpoint import channel_options
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings
from unrolled_server.transport import channel_args
from unrolled_server.transport.channel_args import channel_arguments

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 0x00000004, 0, 0)
SETTINGS, PING, GOAWAY = 4, 6, 7
MAX_CONCURRENT_STREAMS, MAX_HEADER_LIST_SIZE = 3, 6
TIMEOUT_S = 60
INFO = pb.GetServerInfoRequest()


@contextmanager
def connected(address, *, sends=PREFACE):
    """Yields a connection to the server that sends these bytes and then nothing."""
    host, _, port = address.rpartition(":")
    with closing(socket.create_connection((host, int(port)), TIMEOUT_S)) as connection:
        connection.sendall(sends)
        yield connection


def frames(connection):
    """Yields the kind and content of each HTTP/2 frame until the server closes the connection."""
    with connection.makefile("rb") as stream:
        while len(head := stream.read(9)) == 9:
            yield head[3], stream.read(int.from_bytes(head[:3], "big"))


def serving(**settings):
    return running_server(Settings(address="127.0.0.1:0", **settings))


def test_the_server_announces_its_limits_of_streams_and_metadata():
    with (
        serving(max_streams_per_connection=7, max_metadata_bytes=2_048) as server,
        connected(server.address) as connection,
    ):
        kind, content = next(frames(connection))
    assert kind == SETTINGS
    limits = dict(struct.iter_unpack(">HI", content))
    assert limits[MAX_CONCURRENT_STREAMS] == 7
    assert limits[MAX_HEADER_LIST_SIZE] == 2_048


def test_metadata_beyond_the_limit_is_refused():
    with serving(max_metadata_bytes=2_048) as server, grpc.insecure_channel(server.address) as channel:
        ask = ForwardServiceStub(channel).GetServerInfo
        assert ask(INFO, metadata=(("x", "y" * 1_000),)).device
        with pytest.raises(grpc.RpcError) as caught:
            ask(INFO, metadata=(("x", "y" * 2_100),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_calls_above_the_stream_limit_of_a_connection_wait():
    with (
        serving(max_streams_per_connection=1) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = ForwardServiceStub(channel)
        may_end = threading.Event()

        def requests():
            yield pb.ForwardRequest(words=["hi"], hidden_size=2)
            may_end.wait(TIMEOUT_S)

        stream = stub.ForwardStream(requests())
        assert next(stream).shape
        waiting = stub.GetServerInfo.future(INFO)
        assert not waiting.done()
        may_end.set()
        assert list(stream) == []
        assert waiting.result(TIMEOUT_S).device


def test_connections_above_the_limit_are_closed_and_earlier_ones_stay_open():
    with serving(max_connections=1) as server, grpc.insecure_channel(server.address) as channel:
        ask = ForwardServiceStub(channel).GetServerInfo
        assert ask(INFO).device
        with connected(server.address, sends=b"") as another:
            assert another.recv(1) == b""
        assert ask(INFO).device


def test_a_silent_client_is_disconnected(monkeypatch):
    monkeypatch.setattr(channel_args, "_HANDSHAKE_TIMEOUT_MS", 200)
    with serving() as server, connected(server.address, sends=b"") as connection:
        assert [kind for kind, _ in frames(connection)][-1] == GOAWAY


def test_a_vanished_client_is_disconnected(monkeypatch):
    """The server closes a connection that does not answer a ping, also without a call."""
    monkeypatch.setattr(channel_args, "_KEEPALIVE_TIMEOUT_MS", 200)
    with serving(keepalive_s=1) as server, connected(server.address) as connection:
        kinds = [kind for kind, _ in frames(connection)]
    assert PING in kinds


def test_an_idle_connection_is_closed_and_the_next_call_opens_another():
    with serving(max_connection_idle_s=0.2) as server, grpc.insecure_channel(server.address) as channel:
        ask = ForwardServiceStub(channel).GetServerInfo
        became_idle = threading.Event()

        def watch(state):
            if state is grpc.ChannelConnectivity.IDLE:
                became_idle.set()

        assert ask(INFO).device
        channel.subscribe(watch)
        assert became_idle.wait(TIMEOUT_S)
        channel.unsubscribe(watch)
        assert ask(INFO).device


def test_0_disables_the_limits_of_age_and_idleness():
    arguments = dict(
        channel_arguments(Settings(max_connection_age_s=0, max_connection_idle_s=0), shares_port=False)
    )
    assert not [name for name in arguments if "connection_age" in name or "idle" in name]


def test_the_sdk_pings_less_often_than_the_server_allows():
    """Otherwise the server would close its connections for too many pings."""
    arguments, options = dict(channel_arguments(Settings(), shares_port=False)), dict(channel_options(()))
    allowed_ms = arguments["grpc.http2.min_recv_ping_interval_without_data_ms"]
    assert allowed_ms <= options["grpc.keepalive_time_ms"] / 2
