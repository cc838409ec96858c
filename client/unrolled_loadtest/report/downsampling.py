"""Intervals joined with their neighbours, so that an hour of them fits a chart or a table."""

from collections import Counter
from collections.abc import Iterator, Sequence

from unrolled_loadtest.results.histogram import Latencies
from unrolled_loadtest.results.record import Interval


def joined(intervals: Sequence[Interval], *, max_count: int) -> list[Interval]:
    """At most about `max_count` longer intervals; none has both of the warm-up and of the measurement."""
    size = -(-len(intervals) // max_count) or 1
    warmup = [interval for interval in intervals if interval.since_s < 0]
    return [*_joined(warmup, size), *_joined(intervals[len(warmup) :], size)]


def _joined(intervals: Sequence[Interval], size: int) -> Iterator[Interval]:
    for start in range(0, len(intervals), size):
        part = intervals[start : start + size]
        yield part[0] if len(part) == 1 else _join(part)


def _join(part: Sequence[Interval]) -> Interval:
    errors: Counter[str] = Counter()
    for interval in part:
        errors.update(interval.error_counts)
    return Interval(
        since_s=part[0].since_s,
        length_s=sum(interval.length_s for interval in part),
        offered_count=sum(interval.offered_count for interval in part),
        sent_count=sum(interval.sent_count for interval in part),
        late_count=sum(interval.late_count for interval in part),
        answered_count=sum(interval.answered_count for interval in part),
        error_counts=dict(errors),
        in_flight_count=part[-1].in_flight_count,
        latency=Latencies.merged(interval.latency for interval in part),
        generator_busy=max(interval.generator_busy for interval in part),
    )
