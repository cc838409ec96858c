"""Plan of a run: plain values, which travel to the worker processes."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from unrolled_client import InvalidRequestError, Layout, NetworkOptions
from unrolled_client.low_level import Access, Spread

from unrolled_loadtest.workload.distributions import MAX_SEED, MIN_SEED, Distribution

Arrivals: TypeAlias = Literal["constant", "poisson"]
Draw: TypeAlias = Literal["uniform", "frequency", "zipf"]
Transport: TypeAlias = Literal["unary", "stream", "merged"]
Verify: TypeAlias = Literal["bits", "off"]

MAX_S = 30 * 24 * 3_600.0
MAX_RATE_PER_S = 1e6
MAX_COUNT = 1_000_000

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSegment:
    """A part of a load in which the rate is constant or changes linearly."""

    length_s: float
    from_per_s: float
    to_per_s: float

    def __str__(self) -> str:
        first, last = f"{self.from_per_s:,.6g}/s", f"{self.to_per_s:,.6g}/s"
        return first if first == last else f"{first} to {last}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests that are due by a schedule, whatever became of those before.

    Attributes:
        segments: In order, from the start of the measurement. The warm-up has the first one's initial rate.
        arrivals: Evenly spaced, or a Poisson process, as from many independent callers.
    """

    segments: tuple[RateSegment, ...]
    arrivals: Arrivals = "constant"

    @property
    def duration_s(self) -> float:
        """Returns the length of all segments."""
        return sum(segment.length_s for segment in self.segments)

    def __str__(self) -> str:
        if len(set(map(str, self.segments))) == 1:
            return f"{self.arrivals}, {self.segments[0]}"
        return f"{self.arrivals}, {', '.join(f'{part} for {part.length_s:g} s' for part in self.segments)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Callers who each send the next request when the previous one is answered."""

    concurrency: int
    duration_s: float

    def __post_init__(self) -> None:
        check_range("--concurrency", self.concurrency, 1, MAX_COUNT)

    def __str__(self) -> str:
        return f"closed loop, {self.concurrency:,} at a time"


Load: TypeAlias = OpenLoop | ClosedLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMix:
    """The requests from which a run draws."""

    words_per_request: Distribution
    hidden_size: Distribution
    seed: Distribution
    words_file: Path | None = None  # one word a line, or WORD TAB COUNT; None for the built-in list
    draw: Draw = "uniform"  # each word as likely, by its count, or by Zipf's law in the list's order
    alphabet: str | None = None  # in one-hot order; None for the letters of the list
    layout: Layout = "batch_first"
    network: NetworkOptions = field(default_factory=NetworkOptions)  # all other options of a call
    pool_count: int = 1_000  # requests that are made before the clock starts

    def __post_init__(self) -> None:
        check_range("--pool", self.pool_count, 1, MAX_COUNT)

    def __str__(self) -> str:
        source = "built-in words" if self.words_file is None else self.words_file.name
        options = "".join(f", {name} {value}" for name, value in self.network.items())
        return (
            f"{self.words_per_request.text} words, hidden_size {self.hidden_size.text}, seed "
            f"{self.seed.text}{options}; {source}, {self.draw}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    Raises:
        InvalidRequestError: A value is out of range, or there are more processes than work.
    """

    command: str = ""  # for reports
    target: str
    access: Access = field(default_factory=Access, repr=False)  # credentials
    spread: Spread | None = None  # as for Client; a stream goes to any of the target's addresses
    request_mix: RequestMix
    load: Load
    transport: Transport = "unary"
    warmup_s: float = 2.0  # of the same load, before the measurement
    process_count: int = 1
    connection_count: int = 1  # of all processes, as the two below; each process has at least one
    stream_count: int = 1
    max_in_flight: int = 10_000  # requests without an answer; others wait and are late
    timeout_s: float = 30.0  # from when a request is sent
    drain_s: float = 5.0  # how long the run waits for answers after the measurement
    verify: Verify = "bits"
    seed: int = 0  # of everything that is drawn; any number that torch.manual_seed takes

    def __post_init__(self) -> None:
        check_range("--processes", self.process_count, 1, 1_024)
        check_range("--connections", self.connection_count, 1, 65_536)
        check_range("--streams", self.stream_count, 1, 65_536)
        check_range("--max-in-flight", self.max_in_flight, 1, MAX_COUNT)
        check_range("--run-seed", self.seed, MIN_SEED, MAX_SEED)
        check_range("--duration-s", self.load.duration_s, 0, MAX_S, is_above=True)
        check_range("--timeout-s", self.timeout_s, 0, MAX_S, is_above=True)
        check_range("--warmup-s", self.warmup_s, 0, MAX_S)
        if self.process_count > self.max_process_count:
            raise InvalidRequestError(
                f"--processes is {self.process_count}, but there is work for {self.max_process_count}: each "
                "needs a stream of its own, and in a closed loop a caller"
            )

    @property
    def max_process_count(self) -> int:
        """Returns how many processes can have something to do."""
        callers = self.load.concurrency if isinstance(self.load, ClosedLoop) else self.max_in_flight
        return min(callers, self.stream_count) if self.transport == "stream" else callers

    def share_of(self, count: int, *, process: int) -> int:
        """Returns the share of one process in `count` connections, streams or requests."""
        share, rest = divmod(count, self.process_count)
        return share + (process < rest)


def check_range(name: str, value: float, low: float, high: float, *, is_above: bool = False) -> None:
    """Checks that a number is from `low` to `high`, or with `is_above` more than `low`; NaN never is.

    Raises:
        InvalidRequestError: It is not; the message has the name, the value and the range.
    """
    if not low <= value <= high or (is_above and value == low):
        lowest = f"above {low:,} and at most" if is_above else f"from {low:,} to"
        shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
        raise InvalidRequestError(f"{name} is {shown}; it must be {lowest} {high:,.15g}")


def parse_rate(text: str, *, duration_s: float) -> tuple[RateSegment, ...]:
    """Returns the segments, of equal length, of an option such as `500`, `100,200,400` or `100..1000`.

    >>> [segment.to_per_s for segment in parse_rate("100,200", duration_s=10)]
    [100.0, 200.0]

    Raises:
        InvalidRequestError: It is malformed, too high, or 0 throughout, so that nothing is ever due.
    """
    found = [_RATE.fullmatch(part) for part in text.split(",")]
    segments = tuple(
        RateSegment(
            length_s=duration_s / len(found), from_per_s=float(part[1]), to_per_s=float(part[2] or part[1])
        )
        for part in found
        if part is not None
    )
    if len(segments) < len(found):
        raise InvalidRequestError(
            f"--rate is {text!r}; write requests per second, such as 500, steps such as 100,200,400, or a "
            "ramp such as 100..1000"
        )
    highest = max(max(segment.from_per_s, segment.to_per_s) for segment in segments)
    check_range("--rate", highest, 0, MAX_RATE_PER_S, is_above=True)
    return segments
