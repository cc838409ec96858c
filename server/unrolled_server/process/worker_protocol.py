"""What a supervisor and a worker write to each other at a start, as lines of JSON."""

import json
from dataclasses import asdict, dataclass

from unrolled_server.settings.model import Settings

GO = b"go\n"
"""What the supervisor answers a proved worker that may serve. When its pipe ends, so must the worker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """It could serve, and waits to be told to; the line is what it would say when it is ready."""

    fingerprint: str
    ready_line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """It answers calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It can't serve, and ends with this exit code."""

    exit_code: int
    message: str


Report = Proved | Serving | Failed
_KINDS: dict[str, type[Report]] = {kind.__name__: kind for kind in (Proved, Serving, Failed)}


def encode(report: Report) -> bytes:
    """The line, with its end."""
    return json.dumps({"kind": type(report).__name__, **asdict(report)}).encode() + b"\n"


def decode(line: bytes) -> Report:
    """The report in a line of `encode`."""
    fields = json.loads(line)
    return _KINDS[fields.pop("kind")](**fields)


def encode_settings(settings: Settings) -> bytes:
    """Returns a worker's settings as a line, with its end. Not by pydantic, for paths that are not UTF-8."""
    return json.dumps(settings.model_dump(mode="json")).encode() + b"\n"


def decode_settings(line: bytes) -> Settings:
    """Returns the settings in a line of `encode_settings`; the environment does not change them."""
    return Settings.model_validate(json.loads(line))
