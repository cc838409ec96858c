"""What a worker tells its supervisor: one JSON line for each step of its start."""

import json
from dataclasses import asdict, dataclass

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
