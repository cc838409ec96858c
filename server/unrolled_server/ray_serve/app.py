"""The service as an application of Ray Serve: `serve run deploy/ray/serve.yaml`.

A file of its own because it is the one that imports Ray Serve, and what its configuration names.
"""

import logging
import os

from ray import serve
from ray.serve import Application

from unrolled_server.ray_serve.replica import Replica
from unrolled_server.ray_serve.settings import refuse_what_serve_decides
from unrolled_server.settings.environment import unknown_variables
from unrolled_server.settings.model import Settings

LOG = logging.getLogger(__name__)

# What a replica may have at a time: enough to merge; with more, a proxy takes replicas of other nodes too.
MAX_ONGOING_REQUESTS = 64
# What may wait in each proxy beside; more is refused there, as admission does it here.
MAX_QUEUED_REQUESTS = 1_024
# A stream that does not end is cut off after this, and the SDK sends what is unanswered to another replica.
DRAIN_S = 30.0


def app(settings: Settings) -> Application:
    """Returns the application of `args` in Serve's configuration, then `UNROLLED_*`, then defaults.

    Raises:
        ValueError: A setting would be without effect where others rely on it.
    """
    for warning in unknown_variables(os.environ):
        LOG.warning(warning)
    refuse_what_serve_decides(settings)
    deployed = serve.deployment(
        name="ForwardService",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=MAX_QUEUED_REQUESTS,
        graceful_shutdown_timeout_s=DRAIN_S,
        ray_actor_options={"num_cpus": settings.compute_threads},
    )
    application: Application = deployed(Replica).bind(settings)
    return application
