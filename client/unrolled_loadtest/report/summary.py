"""What a record says in words and tables: the same for the terminal and for the page.

A file of its own so that no report says more, or less, than another.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from unrolled_loadtest.report.formatting import (
    counted,
    duration,
    length,
    milliseconds,
    percentage,
    rate,
)
from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Record, Search, Trial

PERCENTS = (50, 90, 99, 99.9)

_SHAPE = "shape"
_KEPT_UP = 0.99
_ONE = 1 - 1e-9
_LATE_AFTER = "1 ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a reader must know before any number.

    Attributes:
        is_bad: Whether a number cannot be taken for what it seems to be; otherwise it wants care.
        text: A sentence or two.
    """

    is_bad: bool
    text: str


def headline(record: Record) -> str:
    """The load in one line."""
    shape = record.load.get(_SHAPE, "open loop" if record.is_open else "closed loop")
    warmup = f" after {length(record.warmup_s)} of warm-up" if record.warmup_s else ""
    return f"{shape} · {record.transport} · {length(record.duration_s)}{warmup}"


def started(record: Record) -> str:
    """When the measurement began, to the second."""
    return datetime.fromisoformat(record.started_at).isoformat(" ", "seconds")


def conditions(record: Record) -> dict[str, str]:
    """What the numbers hold for, a line each."""
    load = {name: value for name, value in record.load.items() if name != _SHAPE}
    lines = {
        "load": _named(load),
        "server": " · ".join([record.target, *filter(None, [_named(record.server)])]),
        "machine": _named(record.machine),
    }
    return {name: line for name, line in lines.items() if line}


def _named(values: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in values.items())


def remarks(record: Record) -> list[Remark]:
    """The worst first."""
    bad = [Remark(is_bad=True, text=text) for text in _bad(record)]
    return [*bad, *(Remark(is_bad=False, text=text) for text in _careful(record))]


def _bad(record: Record) -> Iterator[str]:
    verified, bound_by = record.verification, record.generator.bound_by
    if verified.differing_count:
        yield (
            f"{counted(verified.differing_count, 'answer')} of {verified.checked_count:,} differed in bits "
            f"from the first answer to the same request, such as the one to {verified.first_differing}"
        )
    if record.ending == "server gone":
        why = f" {record.reason}" if record.reason else ""
        yield f"The server went away; this is what was measured until then, {length(record.duration_s)}.{why}"
    if bound_by is not None:
        yield f"Bounded by the generator, not by the server: {bound_by.rstrip('.')}."
    if record.ending == "generator failed":
        yield (
            f"The run ended after {length(record.duration_s)}: {record.reason.rstrip('.')}. What a failed "
            "process had not reported is in no number."
        )
    if record.offered_count and not record.answered_count:
        waits = "; the latencies are of those that waited in vain" if record.latency.count else ""
        yield f"No request was answered{waits}."


def _careful(record: Record) -> Iterator[str]:
    if record.ending == "interrupted":
        what = (
            f"{length(record.duration_s)} were measured" if record.duration_s else "the warm-up was not over"
        )
        yield f"Interrupted: {what}."
    if record.answered_count and record.is_open and not _kept_up(record):
        answered = percentage(record.in_time_count, record.offered_count)
        slow = "The server" if record.generator.bound_by is None else "The generator or the server"
        yield (
            f"{slow} fell behind: {answered} of what was due was answered within the measurement. The "
            "queue grew all the while, so latencies would be longer in a longer run."
        )
    count, scarce = record.latency.count, _scarce(record.latency)
    if count and scarce is not None:
        yield f"{counted(count, 'duration')}: too few for p{scarce:g}, which is the longest of them."
    if not record.is_open:
        yield (
            "Closed loop: a request waits for an answer before it, so a pause of the server delays few of "
            "them. Callers who do not wait for each other see more; offer a rate to measure that."
        )


def _kept_up(record: Record) -> bool:
    return record.in_time_count >= _KEPT_UP * record.offered_count


def _scarce(latencies: Latencies) -> float | None:
    """Returns the lowest percentile that has no duration beyond it."""
    return next((percent for percent in PERCENTS if latencies.count * (1 - percent / 100) < _ONE), None)


def latency_columns(record: Record) -> dict[str, Latencies]:
    """What the table of latencies has side by side."""
    client = {"from intended": record.latency, "from send": record.latency_from_send}
    if not record.is_open:
        client = {"from send": record.latency}
    return {**client, "server queue": record.server_queue, "server compute": record.server_compute}


def latency_rows(record: Record) -> dict[str, list[str]]:
    """Percentiles and the maximum of each column, in milliseconds."""
    columns = latency_columns(record).values()
    rows = {
        f"p{percent:g}": [milliseconds(one.percentile(percent)) for one in columns] for percent in PERCENTS
    }
    return {**rows, "max": [milliseconds(one.max_s) for one in columns]}


def facts(record: Record) -> dict[str, str]:
    """The rest, a line each."""
    return {
        "rate": _rates(record),
        "requests": _requests(record),
        "errors": _errors(record),
        "sending": _sending(record),
        "answers": _answers(record),
        "generator": _generator(record),
    }


def _rates(record: Record) -> str:
    achieved = rate(record.achieved_per_s)
    if not record.is_open:
        return f"{achieved} achieved"
    part = percentage(record.achieved_per_s, record.offered_per_s)
    return f"{rate(record.offered_per_s)} offered, {achieved} achieved ({part})"


def _requests(record: Record) -> str:
    """Returns counts that add up: what was sent was answered, failed, or had no answer at the end."""
    after_count = record.after_end.answered_count
    after = f" ({after_count:,} after the measurement)" if after_count else ""
    answered = f"{record.answered_count:,} answered{after}, {counted(record.error_count, 'error')}"
    unanswered = f", {record.unanswered_count:,} unanswered" if record.unanswered_count else ""
    return f"{record.offered_count:,} due, {record.sent_count:,} sent, {answered}{unanswered}"


def _errors(record: Record) -> str:
    by_count = sorted(record.error_counts.items(), key=lambda item: (-item[1], item[0]))
    told = (
        f"{code} {count:,} ({percentage(count, record.offered_count)})" for code, count in by_count if count
    )
    return ", ".join(told) or "none"


def _sending(record: Record) -> str:
    unsent = f"{record.unsent_count:,} never sent"
    if not record.late_count:
        return f"none more than {_LATE_AFTER} late, {unsent}"
    late = f"{record.late_count:,} ({percentage(record.late_count, record.offered_count)})"
    return f"{late} more than {_LATE_AFTER} late, by {duration(record.max_late_s)} at most; {unsent}"


def _answers(record: Record) -> str:
    verified = record.verification
    if verified.mode == "off":
        return "not compared"
    told = f"{verified.checked_count:,} compared, of {counted(verified.distinct_count, 'different request')}"
    if not verified.checked_count:
        return "none to compare"
    other = f"{verified.differing_count:,} with other bits"
    return f"{told}: {other if verified.differing_count else 'equal bits'}"


def _generator(record: Record) -> str:
    generator = record.generator
    busy = f"{counted(generator.process_count, 'process')}, the busiest {core_share(generator.busy)}"
    if generator.ceiling_per_s is None:
        return f"{busy}; not calibrated"
    return f"{busy}; echo ceiling {rate(generator.ceiling_per_s)}"


def core_share(busy: float) -> str:
    """How busy a process was."""
    return f"{busy * 100:.0f} % of a core"


def found(search: Search) -> str:
    """What the search was for, and what it found."""
    share = search.max_error_share
    errors = f"errors under {percentage(share, 1)}" if share else "no errors"
    target = f"p{search.percent:g} under {length(search.limit_s)}, {errors}"
    if search.found_per_s is None:
        return f"No rate that was tried met the target: {target}."
    return f"{rate(search.found_per_s)} is the highest rate found that meets the target: {target}."


def trial_columns(search: Search) -> list[str]:
    """The heads of a search's table."""
    return ["offered", "achieved", f"p{search.percent:g} ms", "errors", "target"]


def trial_row(trial: Trial) -> list[str]:
    """One rate, under `trial_columns`."""
    return [
        rate(trial.rate_per_s),
        rate(trial.achieved_per_s),
        milliseconds(trial.percentile_s),
        percentage(trial.error_share, 1),
        "met" if trial.is_met else "missed",
    ]
