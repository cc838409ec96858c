"""HTML report: one file without scripts or external resources."""

import jinja2
from markupsafe import Markup
from unrolled_client._display.printable import printable

from unrolled_loadtest.report import charts, formatting, summary
from unrolled_loadtest.results.record import Record


def render(record: Record) -> str:
    """Returns the page of a record; equal records give equal pages."""
    columns = summary.latency_columns(record)
    return _PAGE.render(
        record=record,
        charts=charts,
        formatting=formatting,
        summary=summary,
        client_latencies={name: columns[name] for name in columns if name.startswith("from")},
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
