"""Targets as users write them: which counts, which are refused with which remedy, and how gRPC takes them."""

import ast
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import AsyncClient, Client, InvalidRequestError, UnavailableError
from unrolled_client._transport.target import grpc_target, hosts, is_on_this_machine, resolve_target

VARIABLE = "UNROLLED_TARGET"
CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])
LONG_PATH = "/tmp/" + "x" * 200


def right_form(message):
    """The target that an error proposes; None if it proposes none."""
    match = re.search(r"; write ('.*'|\".*\")( and give root_certificates for TLS)?$", message)
    return match and ast.literal_eval(match[1])


@CLIENTS
def test_the_target_given_counts_before_the_environments_and_that_before_the_default(
    client_class, monkeypatch
):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert "'localhost:50051'" in repr(client_class())
    monkeypatch.setenv(VARIABLE, "")
    assert "'localhost:50051'" in repr(client_class())
    monkeypatch.setenv(VARIABLE, "one.example:1")
    assert "'one.example:1'" in repr(client_class())
    assert "'two.example:2'" in repr(client_class("two.example:2"))
    assert resolve_target(None) == "one.example:1"
    assert resolve_target("two.example:2") == "two.example:2"


@CLIENTS
def test_a_malformed_target_of_the_environment_is_refused_by_the_variables_name(client_class, monkeypatch):
    monkeypatch.setenv(VARIABLE, "http://localhost:50051")
    with pytest.raises(
        InvalidRequestError, match=f"{VARIABLE} is 'http://localhost:50051', a URL; write 'loc"
    ):
        client_class()


@CLIENTS
@pytest.mark.parametrize("target", [None, ("localhost", 50051), b"localhost:50051", 50051, Path("/tmp/x")])
def test_a_target_that_is_not_text_is_a_type_error(client_class, target):
    with pytest.raises(
        TypeError,
        match=r"target is .*; leave it out for UNROLLED_TARGET, else localhost:50051, or pass a str",
    ):
        client_class(target)


@CLIENTS
@pytest.mark.parametrize(
    ("target", "form"),
    [
        ("http://localhost:50051", "localhost:50051"),
        ("https://example.org:443/path", "example.org:443"),
        ("grpc://10.0.0.1", "10.0.0.1:50051"),
        ("http://[::1]:5/", "[::1]:5"),
        ("http://user:secret@h:5", "h:5"),
        ("passthrough:///h:5", None),
        ("http://[::1", None),
        ("localhost", "localhost:50051"),
        ("localhost:", "localhost:50051"),
        ("localhost/", "localhost:50051"),
        ("localhost:50051/", "localhost:50051"),
        (" localhost:50051", "localhost:50051"),
        ("localhost:50051\n", "localhost:50051"),
        ("localhost:0", None),
        ("localhost:70000", None),
        ("localhost:ssh", None),
        ("localhost:\u0665", None),
        (":50051", "localhost:50051"),
        ("::1:50051", "[::1]:50051"),
        ("::1", "[::1]:50051"),
        ("[::1]", "[::1]:50051"),
        ("[localhost]:1", None),
        ("10.0.0.1:1,10.0.0.2:2", "ipv4:10.0.0.1:1,10.0.0.2:2"),
        ("one:1,two:2", None),
        ("ipv4:10.0.0.1", "ipv4:10.0.0.1:50051"),
        ("ipv4:one:1", None),
        ("ipv4:[::1]:1", None),
        ("ipv6:::1:5", None),
        ("dns:one", "dns:one:50051"),
        ("dns:///one", "dns:///one:50051"),
        ("dns://one:5", "dns:///one:5"),
        ("xds:", None),
        ("two words:5", None),
        ("", None),
        ("  ", None),
        ("unix:", None),
        ("unix: /tmp/x", None),
        ("unix://tmp/x", "unix:///tmp/x"),
        ("/tmp/x", "unix:/tmp/x"),
        ("./x", "unix:./x"),
        ("unix:/a,b", None),
        ("unix:/a\0b", None),
        ("unix-abstract:a,b", None),
        (f"unix:{LONG_PATH}", None),
        ("unix:~no-such-user/x", None),
    ],
)
def test_a_malformed_target_is_refused_with_the_form_that_is_right(client_class, target, form):
    with pytest.raises(InvalidRequestError) as caught:
        client_class(target)
    assert caught.value.message.startswith(f"target is {target!r}, ")
    assert not caught.value.is_retryable
    assert right_form(caught.value.message) == form
    assert form or "it must be HOST:PORT such as 'localhost:50051', unix:PATH" in caught.value.message


def test_a_url_of_tls_is_refused_with_what_turns_tls_on():
    with pytest.raises(InvalidRequestError, match="'h:5' and give root_certificates for TLS"):
        Client("https://h:5")


def test_a_path_that_is_too_long_is_refused_with_both_numbers():
    with pytest.raises(InvalidRequestError, match=r"path has 205 bytes; a socket's has at most 10[37]"):
        Client(f"unix:{LONG_PATH}")


@pytest.mark.parametrize(
    "target",
    [
        "localhost:50051",
        "my_service.namespace:1",
        "[fe80::1%eth0]:65535",
        "dns:one:1",
        "dns:///one:1",
        "dns://8.8.8.8/one:1",
        "DNS:///one:1",
        "ipv4:127.0.0.1:1,10.0.0.1:2",
        "ipv4:///127.0.0.1:1",
        "ipv6:[::1]:1,[::2]:2",
        "ipv6:%5B::1%5D:1",
        "xds:///service",
    ],
)
def test_what_grpc_resolves_is_taken_as_it_is(target):
    assert resolve_target(target) == target
    assert grpc_target(target) == target


LETTERS = st.sampled_from(
    [*"a1.:/,@[]%~ \n?#", "\u00e4", "\0", "localhost", "::1", "unix:", "ipv4:", "dns:", "//"]
)


@given(st.lists(LETTERS, max_size=8).map("".join))
@example("unix:///")
def test_every_text_is_taken_or_refused_with_a_form_that_is_taken(text):
    try:
        target = resolve_target(text)
    except InvalidRequestError as error:
        form = right_form(error.message)
        assert form is None or resolve_target(form) == form
    else:
        assert target == text
        assert grpc_target(target).isascii()
        assert isinstance(is_on_this_machine(target), bool)


@given(st.lists(LETTERS, max_size=8).map("".join))
def test_a_token_travels_in_clear_text_to_loopback_hosts_and_sockets_only(text):
    try:
        Client(text, token="secret")
    except InvalidRequestError:
        return
    is_socket = grpc_target(text).startswith("unix")
    assert is_socket or all(host in {"localhost", "127.0.0.1", "::1"} for host in hosts(text))


@pytest.mark.parametrize(
    "target",
    [
        "127.999.1.1:1",  # a name that a search domain may complete
        "dns://8.8.8.8/localhost:1",
        "ipv4:127.0.0.1:1,8.8.8.8:1",
        "ipv4:127.0.0.1:1%2C8.8.8.8:1",
        "ipv6:[::1]:1,[2001:4860::1]:1",
        "xds:///localhost",
        "localhost.example.org:1",
    ],
)
def test_no_spelling_of_a_remote_target_lets_a_token_travel_in_clear_text(target):
    with pytest.raises(InvalidRequestError, match="in clear text"):
        Client(target, token="secret")


@pytest.fixture
def listen():
    """A function that starts a server on a Unix socket, in gRPC's notation, which answers GetServerInfo."""
    servers = []

    def answer(_data, _context):
        return pb.GetServerInfoReply(version="right").SerializeToString()

    def start(grpc_address):
        server = grpc.server(ThreadPoolExecutor(1))
        methods = {"GetServerInfo": grpc.unary_unary_rpc_method_handler(answer)}
        handlers = grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", methods)
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(grpc_address)
        server.start()
        servers.append(server)

    yield start
    for server in servers:
        server.stop(grace=None).wait()


@pytest.fixture
def folder(tmp_path_factory, monkeypatch):
    """The working directory, so that paths of sockets stay short."""
    path = tmp_path_factory.mktemp("s")
    monkeypatch.chdir(path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "a b",
        "a?b",
        "a#b",
        "a%20b",
        "a%",
        "a:b",
        "\u00e4\u5b57",
        "a@b",
        "a[b]",
        "a+b&c=d;e",
        "a\\b",
        "a\"'b",
    ],
)
def test_the_socket_with_the_name_that_was_typed_is_asked(make_client, listen, folder, name):
    listen(f"unix:{quote(name)}")
    assert [entry.name for entry in folder.iterdir()] == [name]
    with make_client(f"unix:{name}") as client:
        assert client.server_info(timeout_s=20).version == "right"


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}", "unix:///{}", "UNIX:{}", "unix:~/sock"])
def test_absolute_paths_and_those_below_the_home_directory_are_found(
    make_client, listen, folder, monkeypatch, form
):
    monkeypatch.setenv("HOME", os.fspath(folder))
    listen("unix:sock")
    with make_client(form.format(folder / "sock")) as client:
        assert client.server_info(timeout_s=20).version == "right"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("spread", [None, "round_robin", "network"])
def test_where_no_server_listens_the_error_says_how_to_start_one(make_client, spread):
    with make_client("unix:nothing", spread=spread) as client, pytest.raises(UnavailableError) as caught:
        client.server_info()
    message = caught.value.message
    assert message.startswith(
        "unix:nothing is unavailable: no server listens there; start one with `unrolled-se"
    )
    assert "pip install 'unrolled[server]'" in message
    assert "UNROLLED_TARGET" in message
