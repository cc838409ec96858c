"""TLS credentials, checked and reloaded here: gRPC hardly reports a wrong file, and an expired one never."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from unrolled_server.security.credential_files import CredentialsError, ReloadingFiles, read_file

LOG = logging.getLogger(__name__)

_WARN_BEFORE = timedelta(days=14)


def tls_credentials(certificate: Path, key: Path, *, client_ca: Path | None = None) -> grpc.ServerCredentials:
    """Returns credentials for a port; new connections use new files when the files change.

    All files are PEM. `client_ca` has the authorities that must have signed each client's certificate.

    Raises:
        CredentialsError: A file cannot be read, is malformed or has expired, or the key is another one's.
    """

    def read() -> grpc.ServerCertificateConfiguration:
        chain_pem = read_file(certificate, setting="tls_certificate")
        key_pem = read_file(key, setting="tls_key", is_secret=True)
        roots_pem = None if client_ca is None else read_file(client_ca, setting="tls_client_ca")
        now = datetime.now(UTC)
        _check_pair(chain_pem, key_pem, certificate=certificate, key=key, now=now)
        if roots_pem is not None:
            _check_authorities(roots_pem, f"tls_client_ca {client_ca}", now=now)
        return grpc.ssl_server_certificate_configuration([(key_pem, chain_pem)], roots_pem)

    paths = [certificate, key] if client_ca is None else [certificate, key, client_ca]
    files = ReloadingFiles(paths, read)
    given = files.content()

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """Returns the configuration if it is new; gRPC asks before each handshake and keeps the last one."""
        nonlocal given
        before, given = given, files.content()
        return None if given is before else given

    return grpc.dynamic_ssl_server_credentials(
        given,
        fetch,  # type: ignore[arg-type]  # the stubs leave None out
        require_client_authentication=client_ca is not None,
    )


def _check_pair(chain_pem: bytes, key_pem: bytes, *, certificate: Path, key: Path, now: datetime) -> None:
    """Raises CredentialsError if no client would accept the certificate, or the key is another one's."""
    leaf = _certificates(chain_pem, f"tls_certificate {certificate}")[0]
    _check_dates(leaf, f"tls_certificate {certificate}", now=now)
    public_key = _private_key(key_pem, f"tls_key {key}").public_key()
    if public_key != leaf.public_key():
        raise CredentialsError(
            f"tls_key {key} does not belong to the first certificate in {certificate}; give a pair"
        )


def _check_authorities(pem: bytes, name: str, *, now: datetime) -> None:
    """Raises CredentialsError if there is no authority whose certificate is valid now."""
    authorities = _certificates(pem, name)
    if not any(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in authorities):
        _check_dates(authorities[0], name, now=now)


def _certificates(pem: bytes, name: str) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise CredentialsError(
            f"{name} holds no certificate that can be read; it must be PEM, -----BEGIN CERTIFICATE-----"
        ) from None


def _private_key(pem: bytes, name: str) -> PrivateKeyTypes:
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise CredentialsError(f"{name} is encrypted; give a key without a passphrase") from None
    except Exception:  # noqa: BLE001 - whatever it is, its message might quote the key
        raise CredentialsError(
            f"{name} holds no private key that can be read; it must be PEM, -----BEGIN PRIVATE KEY-----"
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise CredentialsError(f"{name} is of a kind that gRPC does not take; make an RSA or ECDSA key")
    return key


def _check_dates(certificate: x509.Certificate, name: str, *, now: datetime) -> None:
    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > end:
        raise CredentialsError(f"{name} has expired: it was valid until {end:%Y-%m-%d %H:%M} UTC; renew it")
    if now < begin:
        raise CredentialsError(
            f"{name} is not valid yet: it begins {begin:%Y-%m-%d %H:%M} UTC, and this clock says "
            f"{now:%Y-%m-%d %H:%M} UTC"
        )
    if end - now < _WARN_BEFORE:
        LOG.warning("%s expires %s UTC; renew it", name, f"{end:%Y-%m-%d %H:%M}")
