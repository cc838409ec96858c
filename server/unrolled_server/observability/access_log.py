"""The access log: one line for each request at debug level, without its words."""

import logging

from unrolled_server.call_context import caller_of
from unrolled_server.observability.request_observer import FinishedRequest

LOG = logging.getLogger(__name__)


def is_enabled() -> bool:
    """Returns whether the log level lets the lines through."""
    return LOG.isEnabledFor(logging.DEBUG)


def log_request(finished: FinishedRequest) -> None:
    """Writes the line."""
    timing = finished.timing
    LOG.debug(
        "request",
        extra={
            "method": finished.method,
            "code": finished.code,
            "seconds": round(finished.seconds, 6),
            "queue_s": round(timing.queue_s, 6),
            "compute_s": round(timing.compute_s, 6),
            "words": finished.word_count,
            "hidden_size": finished.request.hidden_size,
            "caller": caller_of(finished.context),
            "id": finished.request.id,
        },
    )
