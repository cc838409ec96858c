"""HTML report: one file without scripts or external resources."""

import jinja2
from markupsafe import Markup
from unrolled_client.cli.printable import printable

from unrolled_loadtest.report import charts, summary
from unrolled_loadtest.report.formatting import clock, duration, milliseconds, percentage, rate
from unrolled_loadtest.results.record import Interval, Record

_INTERVAL_COLUMNS = (
    *("from", "offered", "achieved", "errors", "in flight", "late"),
    *("p50", "p99", "max", "generator"),
)


def render(record: Record) -> str:
    """Returns the page of a record; equal records give equal pages."""
    trials = record.search.trials if record.search is not None else ()
    columns = summary.latency_columns(record)
    return _PAGE.render(
        record=record,
        summary=summary,
        charts=charts,
        key_figures=_key_figures(record),
        trial_rows=map(summary.trial_row, trials),
        latency_rows=[[name, *cells] for name, cells in summary.latency_rows(record).items()],
        client_latencies={name: columns[name] for name in columns if name.startswith("from")},
        mean_rows=[[name, duration(mean_s)] for name, mean_s in summary.mean_parts(record).items()],
        interval_columns=_INTERVAL_COLUMNS,
        interval_rows=map(_interval_row, record.intervals),
    )


def _escape_unprintable(value: object) -> object:
    """Escapes control characters and lone surrogates of the record's text."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


_PAGE = jinja2.Environment(
    loader=jinja2.PackageLoader("unrolled_loadtest", "report"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_escape_unprintable,
    trim_blocks=True,
).get_template("report.html.j2")


def _key_figures(record: Record) -> dict[str, str]:
    latency = record.latency
    return {
        **({"offered": rate(record.offered_per_s)} if record.is_open else {}),
        "achieved": rate(record.achieved_per_s),
        "p50": duration(latency.percentile(50)),
        "p99": duration(latency.percentile(99)),
        "p99.9": duration(latency.percentile(99.9)),
        "maximum": duration(latency.max_s),
        "errors": percentage(record.error_count, record.offered_count),
    }


def _interval_row(interval: Interval) -> list[str]:
    return [
        "warm-up" if interval.since_s < 0 else clock(interval.since_s),
        rate(interval.offered_count / interval.length_s),
        rate(interval.answered_count / interval.length_s),
        f"{sum(interval.error_counts.values()):,}",
        f"{interval.in_flight_count:,}",
        f"{interval.late_count:,}",
        *(milliseconds(interval.latency.percentile(percent)) for percent in (50, 99)),
        milliseconds(interval.latency.max_s),
        summary.core_share(interval.generator_busy),
    ]
