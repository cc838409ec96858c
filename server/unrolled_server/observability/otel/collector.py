"""How the exporters reach the collector that OTEL_EXPORTER_OTLP_* names."""

import ipaddress
import os
from typing import Literal
from urllib.parse import urlsplit

_DEFAULT_ENDPOINT = "http://localhost:4317"  # OTLP's


def channel_options(signal: Literal["TRACES", "METRICS"]) -> tuple[tuple[str, int], ...]:
    """Returns gRPC's options for the collector of a signal: no proxy if it is on this machine.

    gRPC takes the proxy that the environment names for loopback addresses too, which a proxy cannot reach.
    """
    variables = (f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    endpoint = next(filter(None, map(os.environ.get, variables)), _DEFAULT_ENDPOINT)
    host = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").hostname
    return (("grpc.enable_http_proxy", 0),) if _is_loopback(host or "") else ()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
