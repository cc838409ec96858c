"""Certificates and keys: loading, errors, TLS connections and rotation."""

import shutil
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.embedded import running_server
from unrolled_server.security.credential_files import CredentialsError
from unrolled_server.security.tls import tls_credentials
from unrolled_server.settings import Settings

from tests.support.processes import TIMEOUT_S


def pem_of(key, encryption=None):
    encryption = encryption or serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def encrypted(key_file):
    key = load_pem_private_key(key_file.read_bytes(), password=None)
    return pem_of(key, serialization.BestAvailableEncryption(b"passphrase"))


@pytest.fixture
def pair(server_identity, tmp_path):
    """Copies of a valid pair, which tests damage."""
    for file in (server_identity.certificate, server_identity.key):
        shutil.copy(file, tmp_path / file.name)
    return type(server_identity)(tmp_path / "server.pem", tmp_path / "server.key")


def refusal_of(pair, **options):
    with pytest.raises(CredentialsError) as caught:
        tls_credentials(pair.certificate, pair.key, **options)
    return str(caught.value)


def test_a_missing_file_is_reported_with_its_setting(pair):
    pair.key.unlink()
    assert refusal_of(pair) == f"tls_key {pair.key} cannot be read: No such file or directory"


def test_an_invalid_certificate_is_refused_with_the_reason(pair):
    pair.certificate.write_text("-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
    assert f"tls_certificate {pair.certificate} holds no certificate" in refusal_of(pair)


@pytest.mark.parametrize(
    ("break_key", "reason"),
    [
        (lambda file: file.read_bytes()[:120], "holds no private key that can be read"),
        (encrypted, "is encrypted; give a key without a passphrase"),
        (lambda _file: pem_of(ed25519.Ed25519PrivateKey.generate()), "make an RSA or ECDSA key"),
        (lambda file: file.with_suffix(".pem").read_bytes(), "holds no private key"),
    ],
    ids=["cut", "encrypted", "of another kind", "a certificate"],
)
def test_an_unusable_key_is_refused_with_the_reason_and_not_shown(pair, break_key, reason):
    content = break_key(pair.key)
    pair.key.write_bytes(content)
    message = refusal_of(pair)
    assert message.startswith(f"tls_key {pair.key} ")
    assert reason in message
    lines = content.decode().splitlines()[1:-1]
    assert not any(line in message for line in lines)


def test_a_key_of_another_certificate_is_refused(pair, authority):
    pair.key.write_bytes(authority.issue("another").key.read_bytes())
    assert f"tls_key {pair.key} does not belong to the first certificate in" in refusal_of(pair)


def test_an_expired_certificate_is_refused_with_its_end(authority):
    assert "has expired: it was valid until 20" in refusal_of(authority.issue_expired("old"))


def test_a_certificate_that_is_not_yet_valid_is_refused(authority):
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert "is not valid yet" in refusal_of(authority.issue("early", not_before=tomorrow))


def test_a_certificate_that_expires_soon_is_accepted_and_logged(authority, caplog):
    soon = authority.issue("soon", not_after=datetime.now(UTC) + timedelta(days=3))
    tls_credentials(soon.certificate, soon.key)
    assert "expires" in caplog.text


def test_authorities_of_clients_must_be_certificates(pair):
    message = refusal_of(pair, client_ca=pair.key)
    assert f"tls_client_ca {pair.key} holds no certificate" in message


def test_client_authorities_that_have_all_expired_are_refused(pair, authority):
    expired = authority.issue_expired("expired-authority").certificate
    assert "tls_client_ca" in refusal_of(pair, client_ca=expired)


def ask(address, roots, pair=None):
    """Calls the server over a new connection and returns the status code."""
    chain = (pair.key.read_bytes(), pair.certificate.read_bytes()) if pair else (None, None)
    credentials = grpc.ssl_channel_credentials(roots, *chain)
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(address, credentials, options=options) as channel:
        try:
            ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


def test_new_files_serve_new_connections_without_a_restart(pair, other_authority, always_looking, authority):
    """Also with another authority; an open connection stays open."""
    with (
        running_server(Settings(address="127.0.0.1:0", **pair.settings)) as server,
        grpc.secure_channel(server.address, grpc.ssl_channel_credentials(authority.pem)) as before,
    ):
        ForwardServiceStub(before).GetServerInfo(pb.GetServerInfoRequest())
        new = other_authority.issue("new")
        shutil.copy(new.key, pair.key)
        shutil.copy(new.certificate, pair.certificate)
        assert ask(server.address, other_authority.pem) is grpc.StatusCode.OK
        assert ask(server.address, authority.pem) is grpc.StatusCode.UNAVAILABLE
        ForwardServiceStub(before).GetServerInfo(pb.GetServerInfoRequest())


def test_a_broken_new_pair_is_logged_once_and_the_old_one_stays_in_use(
    pair, authority, always_looking, caplog
):
    with running_server(Settings(address="127.0.0.1:0", **pair.settings)) as server:
        pair.key.write_bytes(authority.issue("another").key.read_bytes())
        for _ in range(3):
            assert ask(server.address, authority.pem) is grpc.StatusCode.OK
    assert caplog.text.count("does not belong to the first certificate") == 1


def test_a_client_authority_requires_client_certificates(pair, authority, other_authority):
    """Clients without a certificate, or with an expired one or one of another authority, are refused."""
    settings = Settings(address="127.0.0.1:0", tls_client_ca=authority.file, **pair.settings)
    with running_server(settings) as server:
        assert ask(server.address, authority.pem, authority.issue("client", "me@example.org")) is (
            grpc.StatusCode.OK
        )
        for refused in (
            None,
            other_authority.issue("stranger", "me@example.org"),
            authority.issue_expired("late", "me@example.org"),
        ):
            assert ask(server.address, authority.pem, refused) is grpc.StatusCode.UNAVAILABLE


def test_client_authorities_rotate(pair, authority, other_authority, always_looking, tmp_path):
    roots = tmp_path / "roots.pem"
    shutil.copy(authority.file, roots)
    stranger = other_authority.issue("stranger", "me@example.org")
    with running_server(Settings(address="127.0.0.1:0", tls_client_ca=roots, **pair.settings)) as server:
        assert ask(server.address, authority.pem, stranger) is grpc.StatusCode.UNAVAILABLE
        roots.write_bytes(authority.pem + other_authority.pem)
        assert ask(server.address, authority.pem, stranger) is grpc.StatusCode.OK
