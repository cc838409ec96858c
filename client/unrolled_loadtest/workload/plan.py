"""What a run is asked to do: plain values, which travel to the processes that send."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from unrolled_client.errors import InvalidRequestError
from unrolled_client.low_level import Access, Spread
from unrolled_client.network import NetworkOptions
from unrolled_client.results import Layout

from unrolled_loadtest.results.record import Transport, Verify
from unrolled_loadtest.workload.distributions import MAX_SEED, MIN_SEED, Amount

Arrivals: TypeAlias = Literal["constant", "poisson"]
Draw: TypeAlias = Literal["uniform", "frequency", "zipf"]

MAX_S = 30 * 24 * 3_600.0
MAX_RATE_PER_S = 1e6
MAX_COUNT = 1_000_000

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a load in which the rate stays or goes evenly from one value to another."""

    length_s: float
    from_per_s: float
    to_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Requests that are due at times of their own, whatever became of those before.

    Attributes:
        pieces: One after the other, from where the measurement begins. The warm-up has the first one's rate.
        arrivals: Evenly spaced, or at random (a Poisson process), as from many callers who know nothing of
            each other.
    """

    pieces: tuple[Piece, ...]
    arrivals: Arrivals = "constant"

    @property
    def duration_s(self) -> float:
        """Of all pieces."""
        return sum(piece.length_s for piece in self.pieces)

    def __str__(self) -> str:
        if len({(piece.from_per_s, piece.to_per_s) for piece in self.pieces}) > 1:
            return f"{self.arrivals}, {', '.join(f'{_rate(p)} for {p.length_s:g} s' for p in self.pieces)}"
        return f"{self.arrivals}, {_rate(self.pieces[0])}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """Callers who each ask again when they are answered.

    Attributes:
        concurrency: How many.
        duration_s: How long.
    """

    concurrency: int
    duration_s: float

    def __post_init__(self) -> None:
        check_range("--concurrency", self.concurrency, 1, MAX_COUNT)

    def __str__(self) -> str:
        return f"closed loop, {self.concurrency:,} at a time"


Load: TypeAlias = OpenLoop | ClosedLoop


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What is asked.

    Attributes:
        words_per_request: How many words each request has.
        hidden_size: See the contract.
        seed: The network's.
        words_file: One word a line, or WORD TAB COUNT; None for the built-in list.
        draw: How words are drawn: each as likely, by their counts, or by Zipf's law in the list's order.
        alphabet: In one-hot order; None for the letters of the list.
        layout: See the contract.
        network: All other options of a call.
        pool_count: Different requests that are made, before the clock starts, and drawn from.
    """

    words_per_request: Amount
    hidden_size: Amount
    seed: Amount
    words_file: Path | None = None
    draw: Draw = "uniform"
    alphabet: str | None = None
    layout: Layout = "batch_first"
    network: NetworkOptions = field(default_factory=NetworkOptions)
    pool_count: int = 1_000

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

    Attributes:
        command: What was typed.
        target: Whom to ask.
        access: How to be let in; in no repr, because a plan is shown.
        spread: How requests are spread over the target's addresses, as for `Client`; a stream, which has many
            networks, goes to any of them.
        questions: What.
        load: How often.
        transport: How requests travel.
        warmup_s: Of the same load, before the measurement.
        process_count: Processes that send.
        connection_count: Connections, dealt among the processes; each has one at least.
        stream_count: Streams, dealt among the processes and their connections.
        max_in_flight: Requests without an answer, of all processes; a request beyond is late.
        timeout_s: How long a request may take from when it is sent.
        drain_s: How long answers are waited for when the measurement is over.
        verify: Whether answers are compared.
        seed: Of everything that is drawn; any number that torch.manual_seed takes.

    Raises:
        InvalidRequestError: A value is out of range, or there are more processes than work.
    """

    command: str = ""
    target: str
    access: Access = field(default_factory=Access, repr=False)
    spread: Spread | None = None
    questions: Questions
    load: Load
    transport: Transport = "unary"
    warmup_s: float = 2.0
    process_count: int = 1
    connection_count: int = 1
    stream_count: int = 1
    max_in_flight: int = 10_000
    timeout_s: float = 30.0
    drain_s: float = 5.0
    verify: Verify = "bits"
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("--processes", self.process_count, 1, 1_024)
        check_range("--connections", self.connection_count, 1, 65_536)
        check_range("--streams", self.stream_count, 1, 65_536)
        check_range("--max-in-flight", self.max_in_flight, 1, MAX_COUNT)
        check_range("--run-seed", self.seed, MIN_SEED, MAX_SEED)
        check_range("--duration-s", self.load.duration_s, 0, MAX_S, is_above=True)
        check_range("--timeout-s", self.timeout_s, 0, MAX_S, is_above=True)
        check_range("--warmup-s", self.warmup_s, 0, MAX_S)
        if self.process_count > self.max_lanes:
            raise InvalidRequestError(
                f"--processes is {self.process_count}, but there is work for {self.max_lanes}: each "
                "needs a stream of its own, and in a closed loop a caller"
            )

    @property
    def max_lanes(self) -> int:
        """How many processes can have something to do."""
        callers = self.load.concurrency if isinstance(self.load, ClosedLoop) else self.max_in_flight
        return min(callers, self.stream_count) if self.transport == "stream" else callers

    def share_of(self, count: int, *, process: int) -> int:
        """What one process has of so many things; 0 for none."""
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


def parse_rate(text: str, *, duration_s: float) -> tuple[Piece, ...]:
    """Returns the pieces of a rate as people write it: `500`, `100,200,400`, `100..1000`, or any mix.

    >>> [piece.to_per_s for piece in parse_rate("100,200", duration_s=10)]
    [100.0, 200.0]

    Raises:
        InvalidRequestError: It is something else, too high, or 0 throughout, so that nothing is ever due.
    """
    found = [_RATE.fullmatch(part) for part in text.split(",")]
    pieces = tuple(
        Piece(
            length_s=duration_s / len(found),
            from_per_s=float(part[1]),
            to_per_s=float(part[2] or part[1]),
        )
        for part in found
        if part is not None
    )
    if len(pieces) < len(found):
        raise InvalidRequestError(
            f"--rate is {text!r}; write requests per second, such as 500, steps such as 100,200,400, or a "
            "ramp such as 100..1000"
        )
    highest = max(max(piece.from_per_s, piece.to_per_s) for piece in pieces)
    check_range("--rate", highest, 0, MAX_RATE_PER_S, is_above=True)
    return pieces


def _rate(piece: Piece) -> str:
    first, last = f"{piece.from_per_s:,.6g}/s", f"{piece.to_per_s:,.6g}/s"
    return first if first == last else f"{first} to {last}"
