"""What may be listened on without TLS."""

import socket

import pytest
from pydantic import ValidationError
from unrolled_server.embedded import running_server
from unrolled_server.exit_codes import AddressError
from unrolled_server.settings.model import Settings
from unrolled_server.transport.exposure import protection, refuse_clear_text


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "127.9.8.7:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1", "unix:/tmp/x"],
)
def test_this_machine_needs_no_tls(address):
    refuse_clear_text(Settings(address=address))


@pytest.mark.parametrize(
    "address", ["0.0.0.0:1", "[::]:1", "10.1.2.3:1", "0:1", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"]
)
def test_what_others_reach_is_refused_with_the_remedy(address):
    with pytest.raises(AddressError) as caught:
        refuse_clear_text(Settings(address=address))
    assert str(caught.value).startswith(f"refusing to listen on {address} in clear text")
    assert "--tls-certificate" in str(caught.value)
    assert "--allow-plaintext" in str(caught.value)


def test_what_cannot_be_resolved_is_refused_too():
    """So that no spelling that gRPC alone understands gets around the rule."""
    with pytest.raises(AddressError, match="cannot listen on"):
        refuse_clear_text(Settings(address="no..host:1"))


@pytest.mark.parametrize("address", ["ipv4:0.0.0.0:1", "unix-abstract:x:1"])
def test_spellings_that_grpc_alone_understands_are_no_addresses(address):
    with pytest.raises(ValidationError):
        Settings(address=address)


def test_a_name_of_several_addresses_must_be_loopback_in_all(monkeypatch):
    """A port would be open on each of them."""
    found = [(socket.AF_INET, 1, 6, "", (host, 1)) for host in ("127.0.0.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: found)
    with pytest.raises(AddressError, match="refusing to listen on both:1"):
        refuse_clear_text(Settings(address="both:1"))


def test_the_server_keeps_to_it():
    with pytest.raises(AddressError, match="refusing to listen on"):
        running_server(Settings(address="[::]:0")).__enter__()


def test_with_tls_every_interface_may_be_listened_on(server_identity):
    with running_server(Settings(address="0.0.0.0:0", **server_identity.settings)) as server:
        assert server.address.startswith("0.0.0.0:")


def test_the_log_says_what_protects_calls(server_identity, authority, write_tokens):
    assert protection(Settings()) == "TLS off, client certificates off, tokens off"
    with_tls = Settings(**server_identity.settings, tokens=write_tokens(ops="x" * 16))
    assert protection(with_tls) == "TLS on, client certificates off, tokens on"
    with_both = Settings(**server_identity.settings, tls_client_ca=authority.file)
    assert protection(with_both) == "TLS on, client certificates on, tokens off"
