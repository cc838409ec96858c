"""Addresses to listen on: reserved ports, listeners, and the rule for addresses without TLS."""

import errno
import socket
from contextlib import ExitStack, closing, contextmanager

import pytest
from pydantic import ValidationError
from unrolled_server.embedded import running_server
from unrolled_server.exit_codes import AddressError
from unrolled_server.settings import Settings
from unrolled_server.transport import address as address_module
from unrolled_server.transport.address import (
    describe_protection,
    listeners,
    require_tls_or_loopback,
    reserve_port,
)


def port_of(address):
    return int(address.rpartition(":")[2])


@contextmanager
def listener(port, *, shares):
    """Yields a socket that listens with the options of gRPC's sockets."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        made.bind(("127.0.0.1", port))
        made.listen()
        yield made


def test_port_0_is_resolved_and_several_listeners_share_it():
    with reserve_port("127.0.0.1:0") as address:
        port = port_of(address)
        assert port
        with (
            listener(port, shares=True),
            listener(port, shares=True),
            socket.create_connection(("127.0.0.1", port)),
        ):
            pass


def test_a_reserved_port_accepts_no_connection():
    with (
        reserve_port("127.0.0.1:0") as address,
        closing(socket.socket()) as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect(("127.0.0.1", port_of(address)))


def test_a_reserved_port_is_refused_to_sockets_that_do_not_share_it():
    with reserve_port("127.0.0.1:0") as address:
        with pytest.raises(OSError, match="in use"), listener(port_of(address), shares=False):
            pass
        with pytest.raises(AddressError, match="cannot listen on"), reserve_port(address):
            pass
        with pytest.raises(AddressError, match="Address already in use"):
            running_server(Settings(address=address)).__enter__()


@pytest.mark.parametrize("shares", [True, False])
def test_a_port_that_another_process_listens_on_is_refused(shares):
    with listener(0, shares=shares) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        reason = f"cannot listen on {address}: Address already in use; choose another --address"
        with pytest.raises(AddressError, match=reason), reserve_port(address):
            pass


@pytest.mark.parametrize("shares", [True, False])
def test_the_port_of_a_server_that_has_just_ended_can_be_reserved(shares):
    """Its last connections stay in TIME_WAIT for a minute."""
    with listener(0, shares=shares) as ended:
        address = f"127.0.0.1:{ended.getsockname()[1]}"
        with socket.create_connection(ended.getsockname()) as client:
            connection, _ = ended.accept()
            connection.close()
            assert client.recv(1) == b""
    with reserve_port(address) as held:
        assert held == address


@pytest.mark.parametrize("host", ["localhost", "[::]", "0.0.0.0"])
def test_names_and_wildcards_can_be_reserved(host):
    with (
        reserve_port(f"{host}:0") as address,
        pytest.raises(OSError, match="in use"),
        listener(port_of(address), shares=False),
    ):
        pass


@pytest.fixture
def _without_ipv6(monkeypatch):
    """Simulates a kernel without IPv6 sockets."""
    open_socket = address_module._open_socket

    def refuse_ipv6(interface):
        if interface.family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return open_socket(interface)

    monkeypatch.setattr(address_module, "_open_socket", refuse_ipv6)


@pytest.mark.usefixtures("_without_ipv6")
@pytest.mark.parametrize("host", ["localhost", "[::]"])
def test_without_ipv6_names_and_wildcards_are_reserved_on_ipv4(host):
    with (
        reserve_port(f"{host}:0") as address,
        listener(port_of(address), shares=True),
        pytest.raises(OSError, match="in use"),
        listener(port_of(address), shares=False),
    ):
        pass


@pytest.mark.usefixtures("_without_ipv6")
def test_without_ipv6_an_ipv6_address_is_refused():
    with pytest.raises(AddressError, match="Address family not supported"), reserve_port("[::1]:0"):
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:0", "Cannot assign"),
        ("no..name:0", "label"),
        ("127.0.0.1:99999", "0-65535"),
    ],
)
def test_an_address_that_this_machine_does_not_have_is_refused_with_the_reason(address, reason):
    with pytest.raises(AddressError, match=reason), reserve_port(address):
        pass


@contextmanager
def listening_on(address):
    """Yields the port of the sockets that listen on every address of the host."""
    with ExitStack() as stack:
        opened = [stack.enter_context(each) for each in listeners(address, flag="--metrics-address")]
        yield opened[0].getsockname()[1]


def has_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


with_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@with_ipv6
@pytest.mark.parametrize("host", ["[::]", "localhost"])
@pytest.mark.parametrize("place", ["127.0.0.1", "::1"])
def test_listeners_are_on_both_ip_versions_of_wildcards_and_names(host, place):
    if host == "localhost" and place not in {info[4][0] for info in socket.getaddrinfo("localhost", None)}:
        pytest.skip("localhost has one IP version here")
    with listening_on(f"{host}:0") as port, socket.create_connection((place, port)):
        pass


@pytest.mark.usefixtures("_without_ipv6")
@pytest.mark.parametrize("host", ["[::]", "localhost"])
def test_without_ipv6_listeners_are_on_ipv4(host):
    with listening_on(f"{host}:0") as port, socket.create_connection(("127.0.0.1", port)):
        pass


def test_listeners_of_a_taken_port_are_refused_with_the_flag_to_change():
    with (
        listening_on("127.0.0.1:0") as port,
        pytest.raises(AddressError, match="already in use; choose another --metrics-address"),
        listening_on(f"127.0.0.1:{port}"),
    ):
        pass


def test_a_name_with_a_duplicate_address_gets_one_listener(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with listening_on("twice:0") as port:
        assert port


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "unix:/tmp/x"],
)
def test_addresses_of_this_machine_alone_need_no_tls(address):
    require_tls_or_loopback(Settings(address=address))


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "0:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"]
)
def test_an_address_that_others_reach_is_refused_with_the_remedy(address):
    with pytest.raises(AddressError) as caught:
        require_tls_or_loopback(Settings(address=address))
    assert str(caught.value).startswith(f"refusing to listen on {address} in clear text")
    assert "--tls-certificate" in str(caught.value)
    assert "--allow-plaintext" in str(caught.value)


def test_an_address_that_cannot_be_resolved_is_refused():
    """Otherwise a form that only gRPC understands would bypass the rule."""
    with pytest.raises(AddressError, match="cannot listen on"):
        require_tls_or_loopback(Settings(address="no..host:1"))


@pytest.mark.parametrize("address", ["ipv4:0.0.0.0:1", "unix-abstract:x:1"])
def test_forms_that_only_grpc_understands_are_not_addresses(address):
    with pytest.raises(ValidationError):
        Settings(address=address)


def test_a_name_of_several_addresses_must_be_loopback_in_all(monkeypatch):
    """The server would listen on each of them."""
    found = [(socket.AF_INET, 1, 6, "", (host, 1)) for host in ("127.0.0.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with pytest.raises(AddressError, match="refusing to listen on both:1"):
        require_tls_or_loopback(Settings(address="both:1"))


def test_the_server_applies_the_rule():
    with pytest.raises(AddressError, match="refusing to listen on"):
        running_server(Settings(address="[::]:0")).__enter__()


def test_with_tls_every_interface_may_be_listened_on(server_identity):
    with running_server(Settings(address="0.0.0.0:0", **server_identity.settings)) as server:
        assert server.address.startswith("0.0.0.0:")


def test_the_log_names_the_protection_of_calls(server_identity, authority, write_tokens):
    assert describe_protection(Settings()) == "TLS off, client certificates off, tokens off"
    with_tls = Settings(**server_identity.settings, tokens=write_tokens(ops="x" * 16))
    assert describe_protection(with_tls) == "TLS on, client certificates off, tokens on"
    with_both = Settings(**server_identity.settings, tls_client_ca=authority.file)
    assert describe_protection(with_both) == "TLS on, client certificates on, tokens off"
