"""What all that this process sends says of its sender."""

import os
import uuid
from functools import cache
from importlib.metadata import version

from opentelemetry.sdk.resources import Resource

SCOPE = "unrolled_server"
_DEFAULT_NAME = "unrolled-server"


@cache
def own_resource() -> Resource:
    """The process, as its traces and metrics say, by the name that the environment gives it, else by ours."""
    attributes = {"service.version": version("unrolled")}
    told = f"{os.environ.get('OTEL_RESOURCE_ATTRIBUTES', '')},"
    if "OTEL_SERVICE_NAME" not in os.environ and "service.name=" not in told:
        attributes["service.name"] = _DEFAULT_NAME
    if "service.instance.id=" not in told:
        attributes["service.instance.id"] = str(uuid.uuid4())  # tells workers of one server apart
    return Resource.create(attributes)
