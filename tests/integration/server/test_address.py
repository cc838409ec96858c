"""A port held for workers: they may have it, nobody else may."""

import errno
import socket
from contextlib import ExitStack, closing, contextmanager

import pytest
from unrolled_server.embedded import running_server
from unrolled_server.settings.model import Settings
from unrolled_server.transport import address as address_module
from unrolled_server.transport.address import AddressError, listeners, shared_port


def port_of(address):
    return int(address.rpartition(":")[2])


@contextmanager
def listener(port, *, shares):
    """A socket that listens as gRPC's do."""
    with socket.socket() as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        made.bind(("127.0.0.1", port))
        made.listen()
        yield made


def test_port_0_is_resolved_and_several_listeners_share_it():
    with shared_port("127.0.0.1:0") as address:
        port = port_of(address)
        assert port
        with (
            listener(port, shares=True),
            listener(port, shares=True),
            socket.create_connection(("127.0.0.1", port)),
        ):
            pass


def test_the_holder_itself_takes_no_connection():
    with (
        shared_port("127.0.0.1:0") as address,
        closing(socket.socket()) as client,
        pytest.raises(ConnectionRefusedError),
    ):
        client.connect(("127.0.0.1", port_of(address)))


def test_a_held_port_is_refused_to_all_who_do_not_share():
    with shared_port("127.0.0.1:0") as address:
        with pytest.raises(OSError, match="in use"), listener(port_of(address), shares=False):
            pass
        with pytest.raises(AddressError, match="cannot listen on"), shared_port(address):
            pass
        with pytest.raises(AddressError, match="Address already in use"):
            running_server(Settings(address=address)).__enter__()


@pytest.mark.parametrize("shares", [True, False])
def test_a_port_that_another_process_listens_on_is_refused(shares):
    with listener(0, shares=shares) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        reason = f"cannot listen on {address}: Address already in use; choose another --address"
        with pytest.raises(AddressError, match=reason), shared_port(address):
            pass


@pytest.mark.parametrize("shares", [True, False])
def test_a_port_is_taken_over_from_a_server_that_has_just_ended(shares):
    """Its last connections stay for a minute, in TIME_WAIT."""
    with listener(0, shares=shares) as ended:
        address = f"127.0.0.1:{ended.getsockname()[1]}"
        with socket.create_connection(ended.getsockname()) as client:
            connection, _ = ended.accept()
            connection.close()
            assert client.recv(1) == b""
    with shared_port(address) as held:
        assert held == address


@pytest.mark.parametrize("host", ["localhost", "[::]", "0.0.0.0"])
def test_names_and_wildcards_are_held(host):
    with (
        shared_port(f"{host}:0") as address,
        pytest.raises(OSError, match="in use"),
        listener(port_of(address), shares=False),
    ):
        pass


@pytest.fixture
def _without_ipv6(monkeypatch):
    """A kernel that makes no such sockets."""
    made = address_module._socket

    def refuse_ipv6(place):
        if place.family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return made(place)

    monkeypatch.setattr(address_module, "_socket", refuse_ipv6)


@pytest.mark.usefixtures("_without_ipv6")
@pytest.mark.parametrize("host", ["localhost", "[::]"])
def test_without_ipv6_names_and_wildcards_are_held_on_ipv4(host):
    with (
        shared_port(f"{host}:0") as address,
        listener(port_of(address), shares=True),
        pytest.raises(OSError, match="in use"),
        listener(port_of(address), shares=False),
    ):
        pass


@pytest.mark.usefixtures("_without_ipv6")
def test_without_ipv6_an_address_of_it_is_refused():
    with pytest.raises(AddressError, match="Address family not supported"), shared_port("[::1]:0"):
        pass


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.0.2.1:0", "Cannot assign"),
        ("no..name:0", "label"),
        ("127.0.0.1:99999", "0-65535"),
    ],
)
def test_an_address_that_this_machine_has_not_is_told(address, reason):
    with pytest.raises(AddressError, match=reason), shared_port(address):
        pass


@contextmanager
def listening_on(address):
    """The port on which sockets listen at every place of the address."""
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


def test_a_name_that_lists_an_address_twice_is_listened_on_once(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))] * 2
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with listening_on("twice:0") as port:
        assert port
