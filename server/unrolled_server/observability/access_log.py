"""One line for each request, at debug level: what was asked and how it ended, never the words.

A file of its own because it is one of those who listen to an `Observer`.
"""

import logging

from unrolled_server.call_context import caller_of
from unrolled_server.observability.request_observer import Ended

LOG = logging.getLogger(__name__)


def is_wanted() -> bool:
    """Whether anybody reads such lines."""
    return LOG.isEnabledFor(logging.DEBUG)


def log_request(ended: Ended) -> None:
    """Writes the line."""
    timing = ended.timing
    LOG.debug(
        "request",
        extra={
            "method": ended.method,
            "code": ended.code,
            "seconds": round(ended.seconds, 6),
            "queue_s": round(timing.queue_s, 6),
            "compute_s": round(timing.compute_s, 6),
            "words": ended.word_count,
            "hidden_size": ended.request.hidden_size,
            "caller": caller_of(ended.context),
            "id": ended.request.id,
        },
    )
