"""One HTML file that tells a run: no network, no script, for a screen, a telephone and paper."""

from collections.abc import Iterable
from importlib.resources import files
from xml.etree import ElementTree as ET

from unrolled_loadtest.report.charts import (
    Chart,
    Stroke,
    errors_over_time,
    latency_over_time,
    mean_split,
    percentile_curve,
    rate_over_time,
    search_trials,
)
from unrolled_loadtest.report.downsampling import joined
from unrolled_loadtest.report.formatting import clock, duration, length, milliseconds, percentage, rate
from unrolled_loadtest.report.markup import document, element, pairs, style, table
from unrolled_loadtest.report.summary import (
    Remark,
    conditions,
    core_share,
    facts,
    found,
    headline,
    latency_columns,
    latency_rows,
    remarks,
    started,
    trial_columns,
    trial_row,
)
from unrolled_loadtest.results.record import Interval, Record, Search

_DRAWN_PIECES = 240
_LISTED_PIECES = 60
_CLIENT_COLUMNS = ("from intended", "from send")

_SAMPLES = {"": "M0 6H28", "o": "M14 6h0", "X": "M9 1l10 10M19 1l-10 10"}
"""The legend's lines, by their marks."""

_HOW = (
    "Every request has an intended time, which the schedule says before the run begins. Latency counts from "
    "then, also where a request could only be sent later, so a pause of the server counts for all who came "
    "in it. Latency from the send is what tools report that start their clock when they send. Durations are "
    "kept in HDR histograms, to a thousandth of their value. The warm-up is in no number."
)
_NO_ANSWER = "No request was answered."
_MET = "A rate that the server does not keep up with misses the target, whatever its latency."
_OF_FOUND = "All other numbers on this page are of the trial at the rate that was found."
_OF_LOWEST = "All other numbers on this page are of the trial at the lowest rate."
_HOW_CLOSED = (
    "A fixed number of requests is on its way at any time, and the next is due when one of them is answered. "
    "Durations are kept in HDR histograms, to a thousandth of their value. The warm-up is in no number."
)


def page(record: Record) -> str:
    """Returns the report's text, the same for the same record."""
    title = f"Load test: {headline(record)} · {record.target}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        style(files("unrolled_loadtest").joinpath("page.css").read_text(encoding="utf-8")),
    )
    return document(element("html", head, element("body", *_body(record)), lang="en"))


def _body(record: Record) -> Iterable[ET.Element]:
    pieces = joined(record.intervals, max_count=_DRAWN_PIECES)
    yield _header(record)
    yield element(
        "main",
        _remarks(remarks(record)),
        _search(record.search) if record.search is not None else None,
        _latency(record),
        _over_time(record, pieces),
        _rates(pieces),
        _errors(record, pieces),
        _server(record),
        _course(record),
        _method(record),
    )


def _header(record: Record) -> ET.Element:
    return element(
        "header",
        element("p", "Load test", class_="kind"),
        element("h1", _upper(headline(record))),
        element("p", f"{record.target} · {started(record)}", class_="target"),
        pairs(_figures(record), class_="figures"),
    )


def _figures(record: Record) -> dict[str, str]:
    """What a reader looks for first."""
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


def _remarks(found_remarks: list[Remark]) -> ET.Element | None:
    if not found_remarks:
        return None
    return element(
        "section",
        *(
            element(
                "p",
                element("strong", "Warning: " if remark.is_bad else "Note: "),
                remark.text,
                class_="bad" if remark.is_bad else "care",
            )
            for remark in found_remarks
        ),
        class_="remarks",
        aria_label="What to know before the numbers",
    )


def _search(search: Search) -> ET.Element:
    return _section(
        "The search for the highest rate",
        element("p", found(search)),
        _figure(search_trials(search), f"p{search.percent:g} in milliseconds (logarithmic) by offered rate"),
        table(
            trial_columns(search), [trial_row(trial) for trial in search.trials], caption="Trials, in order"
        ),
        element("p", f"{_MET} {_OF_FOUND if search.found_per_s is not None else _OF_LOWEST}"),
    )


def _latency(record: Record) -> ET.Element:
    columns = latency_columns(record)
    curve = percentile_curve({name: columns[name] for name in _CLIENT_COLUMNS if name in columns})
    rows = [[name, *cells] for name, cells in latency_rows(record).items()]
    return _section(
        "Latency",
        table(["", *columns], rows, caption="Latency in milliseconds"),
        _figure(
            curve,
            "Latency in milliseconds (logarithmic) that so many percent of the answers do not pass",
            otherwise=_NO_ANSWER,
        ),
    )


def _over_time(record: Record, pieces: list[Interval]) -> ET.Element:
    of = "when requests were due" if record.is_open else "when requests were sent"
    return _section(
        "Latency over time",
        _figure(
            latency_over_time(pieces),
            f"Latency in milliseconds (logarithmic) by {of}{_each(pieces)}",
            otherwise=_NO_ANSWER,
        ),
    )


def _rates(pieces: list[Interval]) -> ET.Element:
    return _section(
        "Offered and achieved rate",
        _figure(
            rate_over_time(pieces),
            f"Requests and answers per second{_each(pieces)}",
            otherwise="Nothing was measured.",
        ),
    )


def _errors(record: Record, pieces: list[Interval]) -> ET.Element:
    return _section(
        "Errors",
        element("p", f"{_upper(facts(record)['errors'])}."),
        _figure(errors_over_time(pieces), f"Errors per second, by gRPC's code{_each(pieces)}"),
    )


def _server(record: Record) -> ET.Element:
    return _section(
        "Where the time goes",
        _figure(
            mean_split(record),
            "Mean latency and its parts; queue and compute are what the server's replies tell",
            otherwise="No reply told how long it had taken the server.",
        ),
    )


def _course(record: Record) -> ET.Element:
    """The charts' numbers."""
    pieces = joined(record.intervals, max_count=_LISTED_PIECES)
    heads = ["from", "offered", "achieved", "errors", "in flight", "late", "p50", "p99", "max", "generator"]
    return element(
        "details",
        element("summary", "The numbers of these charts"),
        table(heads, [_course_row(piece) for piece in pieces], caption="Over time; latency in milliseconds"),
    )


def _course_row(piece: Interval) -> list[str]:
    return [
        "warm-up" if piece.since_s < 0 else clock(piece.since_s),
        rate(piece.offered_count / piece.length_s),
        rate(piece.answered_count / piece.length_s),
        f"{sum(piece.error_counts.values()):,}",
        f"{piece.in_flight_count:,}",
        f"{piece.late_count:,}",
        *(milliseconds(piece.latency.percentile(percent)) for percent in (50, 99)),
        milliseconds(piece.latency.max_s),
        core_share(piece.generator_busy),
    ]


def _method(record: Record) -> ET.Element:
    return _section(
        "How it was measured",
        element("p", _HOW if record.is_open else _HOW_CLOSED),
        pairs({**conditions(record), **facts(record)}, class_="facts"),
        element("pre", element("code", record.command), aria_label="Command", tabindex="0"),
    )


def _section(title: str, *content: ET.Element | None) -> ET.Element:
    return element("section", element("h2", title), *content)


def _figure(chart: Chart | None, caption: str, *, otherwise: str = "") -> ET.Element | None:
    """A chart with its caption and legend; or what to say where there is none."""
    if chart is None:
        return element("p", otherwise, class_="nothing") if otherwise else None
    legend = element("ul", *map(_legend_entry, chart.legend), class_="legend")
    return element("figure", element("figcaption", caption, legend), *chart.drawings)


def _legend_entry(stroke: Stroke) -> ET.Element:
    line = element(
        "path",
        d=_SAMPLES[stroke.mark],
        stroke=f"var(--{stroke.color})",
        stroke_width="10" if stroke.is_area or stroke.mark == "o" else "2",
        stroke_linecap="round" if stroke.mark == "o" else "butt",
        stroke_dasharray=" ".join(f"{2 * part:g}" for part in stroke.dashes) or "none",
    )
    sample = element("svg", line, viewBox="0 0 28 12", aria_hidden="true")
    return element("li", sample, stroke.name)


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _each(pieces: list[Interval]) -> str:
    """What one point of a chart stands for, where that is not a second."""
    longest = max((piece.length_s for piece in pieces), default=1.0)
    shaded = "; shaded: the warm-up" if pieces and pieces[0].since_s < 0 else ""
    return (f", in pieces of {length(longest)}" if round(longest) > 1 else "") + shaded
