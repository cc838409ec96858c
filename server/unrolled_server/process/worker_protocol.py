"""Messages between a supervisor and a worker while it starts, as lines of JSON."""

import json
from dataclasses import asdict, dataclass

from unrolled_server.settings import Settings

GO = b"go\n"
"""Lets a verified worker serve. When the supervisor's pipe ends, so does the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The worker could serve, and waits for GO; `ready_line` is for the supervisor's standard output."""

    fingerprint: str
    ready_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """The worker answers calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The worker cannot serve, and ends with this exit code."""

    exit_code: int
    message: str


Report = Verified | Serving | Failed
_KINDS: dict[str, type[Report]] = {kind.__name__: kind for kind in (Verified, Serving, Failed)}


def encode(report: Report) -> bytes:
    """Returns a report as a line."""
    return json.dumps({"kind": type(report).__name__, **asdict(report)}).encode() + b"\n"


def decode(line: bytes) -> Report:
    """Returns the report in a line of `encode`."""
    fields = json.loads(line)
    return _KINDS[fields.pop("kind")](**fields)


def encode_settings(settings: Settings) -> bytes:
    """Returns a worker's settings as a line. Pydantic's own JSON refuses paths that are not UTF-8."""
    return json.dumps(settings.model_dump(mode="json")).encode() + b"\n"


def decode_settings(line: bytes) -> Settings:
    """Returns the settings in a line of `encode_settings`; the environment does not change them."""
    return Settings.model_validate(json.loads(line))
