"""Searches the highest rate that meets a target."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from unrolled_client.errors import InvalidRequestError, UnavailableError, UnrolledError

from unrolled_loadtest.results.record import Ending, Record, Search, Trial, Verification
from unrolled_loadtest.workload.plan import OpenLoop, Plan, RateSegment, check_range

PRECISION = 0.05
"""The relative gap between the highest rate that met the target and the lowest that missed it, at the end."""
MIN_RATE_PER_S = 1.0
MAX_TRIALS = 30
MAX_LIMIT_S = 3_600.0  # the histogram's range
MIN_ACHIEVED_SHARE = 0.95
"""With fewer answers per request that was due, the server fell behind, whatever its latency."""

_GOAL = re.compile(
    r"p(?P<percent>\d+(?:\.\d+)?)<(?P<limit>\d+(?:\.\d+)?)(?P<unit>us|ms|s)"
    r"(?:,errors<(?P<errors>\d+(?:\.\d+)?)%)?"
)
_ERROR_PERCENT = 0.1
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The target of a search: a percentile of latency below a limit, and fewer errors than a share."""

    percent: float
    limit_s: float
    max_error_share: float = _ERROR_PERCENT / 100

    def judge(self, record: Record, *, rate_per_s: float) -> Trial:
        """Returns what a run at this rate showed."""
        percentile_s = record.latency.percentile(self.percent)
        error_share = record.error_count / max(1, record.offered_count)
        has_few_errors = error_share < self.max_error_share or not record.error_count
        keeps_up = record.achieved_per_s >= MIN_ACHIEVED_SHARE * record.offered_per_s
        return Trial(
            rate_per_s=rate_per_s,
            achieved_per_s=record.achieved_per_s,
            percentile_s=percentile_s,
            error_share=error_share,
            # False for NaN, which means that nothing was answered
            is_met=percentile_s < self.limit_s and has_few_errors and keeps_up,
        )


def parse_goal(text: str) -> Goal:
    """Returns the target that an option describes.

    >>> parse_goal("p99<50ms,errors<0.1%").limit_s
    0.05

    Raises:
        InvalidRequestError: It is malformed or out of range.
    """
    found = _GOAL.fullmatch(text.replace(" ", ""))
    if found is None or not 0 < float(found["percent"]) < 100:  # noqa: PLR2004 - percent
        raise InvalidRequestError(f"--find-max is {text[:80]!r}; write one such as p99<50ms,errors<0.1%")
    limit_s = float(found["limit"]) * _SECONDS[found["unit"]]
    check_range("--find-max's latency in seconds", limit_s, 0, MAX_LIMIT_S, is_above=True)
    error_percent = float(found["errors"] or _ERROR_PERCENT)
    check_range("--find-max's errors in %", error_percent, 0, 100)
    return Goal(percent=float(found["percent"]), limit_s=limit_s, max_error_share=error_percent / 100)


def next_rate(trials: Sequence[Trial], *, first_per_s: float) -> float | None:
    """Returns the rate to try next: twice the best, half the worst, or between; None when the gap is small.

    A missed trial below one that met the target was missed by chance and does not count.
    """
    if not trials:
        return first_per_s
    if len(trials) >= MAX_TRIALS:
        return None
    met = max((trial.rate_per_s for trial in trials if trial.is_met), default=None)
    missed = [trial.rate_per_s for trial in trials if not trial.is_met and trial.rate_per_s > (met or 0)]
    if met is None:
        worst = min(missed)
        return max(worst / 2, MIN_RATE_PER_S) if worst > MIN_RATE_PER_S else None
    if not missed:
        return met * 2
    lowest = min(missed)
    return None if lowest / met <= 1 + PRECISION else math.sqrt(lowest * met)


def find_max_rate(
    plan: Plan,
    goal: Goal,
    *,
    first_per_s: float,
    run: Callable[[Plan], Record],
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> Record:
    """Returns the record of the highest rate that met the target, else of the lowest that was tried.

    `plan` is that of a trial, at any rate; `run` runs a trial. A trial that ends early ends the search.

    Raises:
        UnrolledError: The first trial failed before its load began. A later one ends the search with what the
            others measured. The same holds for OSError and KeyboardInterrupt.
    """
    trials: list[Trial] = []
    records: list[Record] = []
    ending: Ending = "done"
    reason = ""
    while (rate_per_s := next_rate(trials, first_per_s=first_per_s)) is not None:
        try:
            record = run(_with_rate(plan, rate_per_s))
        except (UnrolledError, OSError, KeyboardInterrupt) as error:
            if not records:
                raise
            ending, reason = _ending_of(error), str(error)
            break
        ending, reason = record.ending, record.reason
        trial = goal.judge(record, rate_per_s=rate_per_s)
        if ending != "done":
            trial = replace(trial, is_met=False)
        trials.append(trial)
        records.append(record)
        on_trial(trial)
        if ending != "done":
            break
    return replace(_best(goal, trials, records), ending=ending, reason=reason)


def _ending_of(error: BaseException) -> Ending:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "server gone" if isinstance(error, UnavailableError) else "generator failed"


def _with_rate(plan: Plan, rate_per_s: float) -> Plan:
    segment = RateSegment(length_s=plan.load.duration_s, from_per_s=rate_per_s, to_per_s=rate_per_s)
    arrivals = plan.load.arrivals if isinstance(plan.load, OpenLoop) else "constant"
    return replace(plan, load=OpenLoop(segments=(segment,), arrivals=arrivals))


def _best(goal: Goal, trials: Sequence[Trial], records: Sequence[Record]) -> Record:
    met = [at for at, trial in enumerate(trials) if trial.is_met]
    rate_at = [trial.rate_per_s for trial in trials]
    best = max(met, key=rate_at.__getitem__) if met else min(range(len(trials)), key=rate_at.__getitem__)
    found = records[best]
    search = Search(
        percent=goal.percent,
        limit_s=goal.limit_s,
        max_error_share=goal.max_error_share,
        trials=tuple(trials),
        found_per_s=rate_at[best] if met else None,
    )
    above = [at for at, rate in enumerate(rate_at) if rate > rate_at[best]]
    bound_by = found.generator.bound_by
    if bound_by is None and above:  # then the search may have ended at the generator's limit
        nearest = min(above, key=rate_at.__getitem__)
        if records[nearest].generator.bound_by is not None:
            bound_by = f"at {rate_at[nearest]:,.0f}/s {records[nearest].generator.bound_by}"
    return replace(
        found,
        search=search,
        generator=replace(found.generator, bound_by=bound_by),
        verification=_merge_verifications(records),
    )


def _merge_verifications(records: Sequence[Record]) -> Verification:
    """Returns what all trials found: a wrong answer counts at any rate."""
    found = [record.verification for record in records]
    return replace(
        found[-1],
        checked_count=sum(one.checked_count for one in found),
        distinct_count=max(one.distinct_count for one in found),
        differing_count=sum(one.differing_count for one in found),
        first_differing=next((one.first_differing for one in found if one.first_differing), None),
    )
