"""The service as an application of Ray Serve, which only this module imports."""

import logging
import os

from ray import serve
from ray.serve import Application

from unrolled_server.ray_serve.replica import Replica, refuse_settings_of_serve
from unrolled_server.settings import Settings
from unrolled_server.settings.environment import unknown_variables

LOG = logging.getLogger(__name__)

# For one replica: enough calls to merge. Beyond it a proxy uses replicas of other nodes.
MAX_ONGOING_REQUESTS = 64
# For one proxy: calls that wait for a replica; it refuses more.
MAX_QUEUED_REQUESTS = 1_024
# After this a stream is cut off, and the SDK sends its unanswered requests to another replica.
DRAIN_S = 30.0


def app(settings: Settings) -> Application:
    """Returns the application with `args` of Serve's configuration, then `UNROLLED_*`, then defaults."""
    for warning in unknown_variables(os.environ):
        LOG.warning(warning)
    refuse_settings_of_serve(settings)
    if "compute_threads" not in settings.model_fields_set:  # the cores of this machine are not the replica's
        settings = settings.model_copy(update={"compute_threads": 1})
    deployed = serve.deployment(
        name="ForwardService",
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=MAX_QUEUED_REQUESTS,
        graceful_shutdown_timeout_s=DRAIN_S,
        ray_actor_options={"num_cpus": settings.compute_threads},
    )
    application: Application = deployed(Replica).bind(settings)
    return application
