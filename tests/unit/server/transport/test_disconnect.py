"""Closes the connection with a client's address, and no other."""

import socket

import pytest
from unrolled_server.transport.disconnect import disconnect

from tests.support.processes import needs_ipv6


@pytest.mark.parametrize(
    ("listen_on", "host", "peer"),
    [
        ((socket.AF_INET, "127.0.0.1"), "127.0.0.1", "ipv4:127.0.0.1:{}"),
        pytest.param((socket.AF_INET6, "::1"), "::1", "ipv6:%5B::1%5D:{}", marks=needs_ipv6),
        pytest.param((socket.AF_INET6, "::1"), "::1", "ipv6:[::1]:{}", marks=needs_ipv6),
        pytest.param((socket.AF_INET6, "::"), "127.0.0.1", "ipv4:127.0.0.1:{}", marks=needs_ipv6),
    ],
)
def test_only_the_connection_from_the_address_is_closed(listen_on, host, peer):
    family, interface = listen_on
    pair = socket.socketpair()  # sockets without an address are looked at, too
    with (
        pair[0],
        pair[1],
        socket.create_server((interface, 0), family=family, dualstack_ipv6=interface == "::") as server,
    ):
        address = (host, server.getsockname()[1])
        with (
            socket.create_connection(address) as client,
            socket.create_connection(address) as other_client,
            server.accept()[0] as accepted,
            server.accept()[0] as other_accepted,
        ):
            named = peer.format(client.getsockname()[1])
            assert disconnect([named, "ipv4:127.0.0.1:1"]) == {named}
            assert client.recv(1) == b""
            assert accepted.fileno() >= 0  # the descriptor stays its owner's
            other_accepted.send(b"x")
            assert other_client.recv(1) == b"x"


@pytest.mark.parametrize("peer", ["ipv4:127.0.0.1:1", "unix:", "unix:/tmp/socket", "", "nonsense"])
def test_peers_without_a_connection_or_an_address_are_skipped(peer):
    assert disconnect([peer]) == set()
