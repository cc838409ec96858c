"""Proxies of the environment: never used for this machine, and named in errors where they are used."""

import socket
import threading

import grpc
import pytest
from unrolled_client import UnavailableError
from unrolled_client._transport.call_errors import proxy_in_use
from unrolled_client._transport.endpoint import Endpoint

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
NO_PROXY = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy():
    """HOST:PORT of a proxy that refuses everything, and what it was asked."""
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the test is over
                    return
                with connection:
                    asked.append(connection.recv(4096).decode().splitlines()[0])
                    connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("variable", ["grpc_proxy", "https_proxy", "http_proxy"])
@pytest.mark.parametrize("form", ["{}", "dns:///{}", "ipv4:{}", "localhost:{port}"])
def test_a_server_on_this_machine_is_asked_without_a_proxy(
    make_client, server_address, monkeypatch, variable, form
):
    monkeypatch.setenv(variable, NO_PROXY)
    target = form.format(server_address, port=server_address.rpartition(":")[2])
    with make_client(target) as client:
        assert client.server_info().version


def test_a_user_may_turn_a_proxy_on_for_a_server_on_this_machine(make_client, monkeypatch, proxy):
    address, asked = proxy
    monkeypatch.setenv("http_proxy", f"http://{address}")
    options = [("grpc.enable_http_proxy", 1)]
    with make_client("localhost:1", options=options) as client, pytest.raises(UnavailableError):
        client.server_info()
    assert "CONNECT localhost:1" in asked[0]


def test_with_a_token_in_clear_text_no_option_turns_a_proxy_on():
    endpoint = Endpoint(target="localhost:1", token="t", options=(("grpc.enable_http_proxy", 1),))
    assert dict(endpoint.channel_options())["grpc.enable_http_proxy"] == 0


def test_an_error_names_the_proxy_that_was_asked_and_its_variable(make_client, monkeypatch, proxy):
    address, asked = proxy
    monkeypatch.setenv("http_proxy", f"http://user:secret@{address}")
    with make_client("server.example:5") as client, pytest.raises(UnavailableError) as caught:
        client.server_info()
    assert "CONNECT server.example:5" in asked[0]
    message = caught.value.message
    assert f"gRPC asked the proxy {address} of http_proxy; if the server can be reached without it" in message
    assert "secret" not in message


def test_an_error_of_a_local_server_names_no_proxy(make_client, monkeypatch):
    monkeypatch.setenv("http_proxy", NO_PROXY)
    with make_client("localhost:1") as client, pytest.raises(UnavailableError) as caught:
        client.server_info()
    assert "proxy" not in caught.value.message
    assert "no server listens there; start one with `unrolled-server`" in caught.value.message


# What gRPC does with each was tried against a proxy that counts.
@pytest.mark.parametrize(
    ("environment", "target", "used"),
    [
        ({}, "h.example:5", None),
        ({"http_proxy": "http://p:1"}, "h.example:5", "p:1 of http_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": "http://q:2"}, "h.example:5", "q:2 of https_proxy"),
        ({"http_proxy": "http://p:1", "grpc_proxy": "http://r:3"}, "dns:///h:5", "r:3 of grpc_proxy"),
        ({"http_proxy": "http://p:1", "https_proxy": ""}, "h.example:5", None),
        ({"http_proxy": "https://p:1"}, "h.example:5", None),
        ({"http_proxy": "p:1"}, "h.example:5", None),
        ({"http_proxy": "http://[::1"}, "unix:/tmp/x", None),
        ({"http_proxy": "http://me:s@cret@p:1/"}, "h.example:5", "p:1 of http_proxy"),
        ({"HTTP_PROXY": "http://p:1"}, "h.example:5", None),
        ({"http_proxy": "http://p:1"}, "unix:/tmp/x", None),
        ({"http_proxy": "http://p:1", "no_proxy": "a, .EXAMPLE"}, "h.example:5", None),
        ({"http_proxy": "http://p:1", "no_proxy": "other"}, "h.example:5", "p:1 of http_proxy"),
        ({"http_proxy": "http://p:1", "no_proxy": "*"}, "h.example:5", "p:1 of http_proxy"),
        ({"http_proxy": "http://p:1", "no_proxy": "10.0.0.0/8"}, "ipv4:10.1.2.3:5", None),
        ({"http_proxy": "http://p:1", "no_proxy": "h", "no_grpc_proxy": "x"}, "h:5", "p:1 of http_proxy"),
    ],
)
def test_the_proxy_that_is_named_is_the_one_that_grpc_uses(monkeypatch, environment, target, used):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_in_use(target, Endpoint(target=target).channel_options()) == used
    assert proxy_in_use(target, [("grpc.enable_http_proxy", 0)]) is None


def test_a_name_without_an_address_is_said(make_client):
    with make_client("nothing.invalid:5") as client, pytest.raises(UnavailableError) as caught:
        client.server_info()
    assert "the name of its host has no address (" in caught.value.message
    assert caught.value.code is grpc.StatusCode.UNAVAILABLE
