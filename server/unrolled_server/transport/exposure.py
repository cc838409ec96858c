"""How the server's address is protected: keeps clear text on this machine, and says what protects calls."""

import ipaddress
import socket

from unrolled_server.exit_codes import AddressError
from unrolled_server.settings.address_forms import UNIX, split_host_port
from unrolled_server.settings.model import Settings


def refuse_clear_text(settings: Settings) -> None:
    """Refuses an address that other machines may reach, unless there is TLS or clear text is asked for.

    Names are resolved; one that is not is refused too.

    Raises:
        AddressError: It is not of loopback alone, and not a Unix socket.
    """
    address = settings.address
    if settings.tls_certificate or settings.allow_plaintext or address.startswith(UNIX):
        return
    try:
        found = socket.getaddrinfo(*split_host_port(address), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AddressError(f"cannot listen on {address}: {reason}; choose another --address") from None
    if not all(_is_loopback(str(sockaddr[0])) for *_, sockaddr in found):
        raise AddressError(
            f"refusing to listen on {address} in clear text, where other machines may reach it: give "
            "--tls-certificate and --tls-key, listen on 127.0.0.1, or, if the network is trusted, add "
            "--allow-plaintext"
        )


def protection(settings: Settings) -> str:
    """Returns which of TLS, client certificates and tokens protect calls, for the log."""
    given = {
        "TLS": settings.tls_certificate,
        "client certificates": settings.tls_client_ca,
        "tokens": settings.tokens,
    }
    return ", ".join(f"{name} {'on' if file else 'off'}" for name, file in given.items())


def _is_loopback(host: str) -> bool:
    ip = ipaddress.ip_address(host.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
