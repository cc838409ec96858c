"""Which of the server's settings Ray Serve leaves without effect, and what to do instead.

A file of its own so that it can be asked without Ray.
"""

from collections.abc import Mapping

from unrolled_server.settings.model import Settings

# Nothing here may seem to protect that does not.
NOT_SERVES: Mapping[str, str] = {
    "tls_certificate": "set RAY_USE_TLS for the cluster, or end TLS before it",
    "tls_client_ca": "set RAY_USE_TLS for the cluster, or end TLS before it",
    "tokens": "check them before the cluster",
    "metrics_address": "take Ray's own metrics",
    "otel": "take Ray's own tracing",
}


def refuse_what_serve_decides(settings: Settings) -> None:
    """Refuses settings of the server's own port that others would rely on.

    Raises:
        ValueError: There is one.
    """
    for name, remedy in NOT_SERVES.items():
        if getattr(settings, name):
            raise ValueError(f"{name} is set, and Ray Serve has the port and its calls: {remedy}")
