"""Words and tables of a record, the same in the terminal and on the HTML page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isnan

from unrolled_loadtest.report.formatting import counted, duration, length, milliseconds, percentage, rate
from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Record, Search, Trial

PERCENTS = (50, 90, 99, 99.9)

_SHAPE = "shape"
_MIN_IN_TIME_SHARE = 0.99
_ONE = 1 - 1e-9
_LATE = "more than 1 ms late"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What a reader must know before the numbers.

    Attributes:
        is_bad: Whether a number does not mean what it seems to mean.
        text: A sentence or two.
    """

    is_bad: bool
    text: str


def headline(record: Record) -> str:
    """Returns the load in one line."""
    shape = record.load.get(_SHAPE, "open loop" if record.is_open else "closed loop")
    warmup = f" after {length(record.warmup_s)} of warm-up" if record.warmup_s else ""
    return f"{shape} · {record.transport} · {length(record.duration_s)}{warmup}"


def conditions(record: Record) -> dict[str, str]:
    """Returns the load, the server and the machine that the numbers hold for, a line each."""
    load = {name: value for name, value in record.load.items() if name != _SHAPE}
    lines = {
        "load": _joined(load),
        "server": " · ".join([record.target, *filter(None, [_joined(record.server)])]),
        "machine": _joined(record.machine),
    }
    return {name: line for name, line in lines.items() if line}


def _joined(values: Mapping[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in values.items())


def remarks(record: Record) -> list[Remark]:
    """Returns the remarks, warnings first."""
    warnings = [Remark(is_bad=True, text=text) for text in _warnings(record)]
    return [*warnings, *(Remark(is_bad=False, text=text) for text in _notes(record))]


def _warnings(record: Record) -> Iterator[str]:
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


def _notes(record: Record) -> Iterator[str]:
    if record.ending == "interrupted":
        measured = f"{length(record.duration_s)} were measured"
        yield f"Interrupted: {measured if record.duration_s else 'the warm-up was not over'}."
    is_behind = record.in_time_count < _MIN_IN_TIME_SHARE * record.offered_count
    if record.answered_count and record.is_open and is_behind:
        answered = percentage(record.in_time_count, record.offered_count)
        slow = "The server" if record.generator.bound_by is None else "The generator or the server"
        yield (
            f"{slow} fell behind: {answered} of what was due was answered within the measurement. The "
            "queue grew all the while, so latencies would be longer in a longer run."
        )
    count, percent = record.latency.count, _percent_without_samples(record.latency)
    if count and percent is not None:
        yield f"{counted(count, 'duration')}: too few for p{percent:g}, which is the longest of them."
    if not record.is_open:
        yield (
            "Closed loop: a request waits for an answer before it, so a pause of the server delays few of "
            "them. Callers who do not wait for each other see more; offer a rate to measure that."
        )


def _percent_without_samples(latencies: Latencies) -> float | None:
    """Returns the lowest percentile with no duration beyond it."""
    return next((percent for percent in PERCENTS if latencies.count * (1 - percent / 100) < _ONE), None)


def latency_columns(record: Record) -> dict[str, Latencies]:
    """Returns the columns of the latency table."""
    client = {"from intended": record.latency, "from send": record.latency_from_send}
    if not record.is_open:
        client = {"from send": record.latency}
    return {**client, "server queue": record.server_queue, "server compute": record.server_compute}


def latency_rows(record: Record) -> dict[str, list[str]]:
    """Returns percentiles and the maximum of each column, in milliseconds."""
    columns = latency_columns(record).values()
    rows = {
        f"p{percent:g}": [milliseconds(one.percentile(percent)) for one in columns] for percent in PERCENTS
    }
    return {**rows, "max": [milliseconds(one.max_s) for one in columns]}


def mean_parts(record: Record) -> dict[str, float]:
    """Returns the seconds of which the mean latency is the sum; empty if no reply has the server's times.

    Parts are never negative, because some replies may lack the server's times.
    """
    if not (record.latency.count and record.server_compute.count):
        return {}
    queue, compute = (
        times.mean_s if times.count else 0.0 for times in (record.server_queue, record.server_compute)
    )
    unsent = record.latency.mean_s - record.latency_from_send.mean_s
    rest = min(record.latency.mean_s, record.latency_from_send.mean_s) - queue - compute
    parts = {"before the send": unsent} if record.is_open else {}
    parts |= {"network and client": rest, "server queue": queue, "server compute": compute}
    return {name: 0.0 if isnan(mean_s) else max(mean_s, 0.0) for name, mean_s in parts.items()}


def facts(record: Record) -> dict[str, str]:
    """Returns everything else, a line each."""
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
    """Returns counts that add up: each request that was sent was answered, failed, or was unanswered."""
    after_count = record.after_end.answered_count
    after = f" ({after_count:,} after the measurement)" if after_count else ""
    answered = f"{record.answered_count:,} answered{after}, {counted(record.error_count, 'error')}"
    unanswered = f", {record.unanswered_count:,} unanswered" if record.unanswered_count else ""
    return f"{record.offered_count:,} due, {record.sent_count:,} sent, {answered}{unanswered}"


def _errors(record: Record) -> str:
    by_count = sorted(record.error_counts.items(), key=lambda item: (-item[1], item[0]))
    errors = (
        f"{code} {count:,} ({percentage(count, record.offered_count)})" for code, count in by_count if count
    )
    return ", ".join(errors) or "none"


def _sending(record: Record) -> str:
    unsent = f"{record.unsent_count:,} never sent"
    if not record.late_count:
        return f"none {_LATE}, {unsent}"
    late = f"{record.late_count:,} ({percentage(record.late_count, record.offered_count)})"
    return f"{late} {_LATE}, by {duration(record.max_late_s)} at most; {unsent}"


def _answers(record: Record) -> str:
    verified = record.verification
    if verified.mode == "off":
        return "not compared"
    if not verified.checked_count:
        return "none to compare"
    differing = f"{verified.differing_count:,} with other bits" if verified.differing_count else "equal bits"
    requests = counted(verified.distinct_count, "different request")
    return f"{verified.checked_count:,} compared, of {requests}: {differing}"


def _generator(record: Record) -> str:
    generator = record.generator
    busy = f"{counted(generator.process_count, 'process')}, the busiest {core_share(generator.busy)}"
    if generator.ceiling_per_s is None:
        return f"{busy}; not calibrated"
    return f"{busy}; echo ceiling {rate(generator.ceiling_per_s)}"


def core_share(busy: float) -> str:
    """Returns the share of one core that a process used."""
    return f"{busy * 100:.0f} % of a core"


def search_result(search: Search) -> str:
    """Returns a search's target and its result."""
    share = search.max_error_share
    errors = f"errors under {percentage(share, 1)}" if share else "no errors"
    target = f"p{search.percent:g} under {length(search.limit_s)}, {errors}"
    if search.found_per_s is None:
        return f"No rate that was tried met the target: {target}."
    return f"{rate(search.found_per_s)} is the highest rate found that meets the target: {target}."


def trial_columns(search: Search) -> list[str]:
    """Returns the headings of a search's table."""
    return ["offered", "achieved", f"p{search.percent:g} ms", "errors", "target"]


def trial_row(trial: Trial) -> list[str]:
    """Returns the cells under `trial_columns`."""
    return [
        rate(trial.rate_per_s),
        rate(trial.achieved_per_s),
        milliseconds(trial.percentile_s),
        percentage(trial.error_share, 1),
        "met" if trial.is_met else "missed",
    ]
