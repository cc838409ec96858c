"""Report files, which are opened before the load, and standard output."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from unrolled_client.cli.connect import report
from unrolled_client.cli.options import output_option
from unrolled_client.cli.output_files import OutputFile, parse_path, refuse_shared_files

from unrolled_loadtest.report import json_report, terminal
from unrolled_loadtest.report.raw_log import RawLog
from unrolled_loadtest.results.record import Record

COMMAND = "unrolled-load"


def _refuse_hdr_log(value: str | None) -> None:
    if value is not None:
        raise typer.BadParameter("it was removed; --json has the encoded histogram, as latency.hdr_v2")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlags:
    """Options for the reports."""

    as_json: Annotated[
        bool,
        output_option("--json", help="Print one line of JSON, with encoded histograms, instead of tables."),
    ] = False
    html: Annotated[str | None, output_option(metavar="FILE", help="Write a report for a browser.")] = None
    raw_log: Annotated[
        str | None,
        output_option(metavar="FILE", help="Write a line for each request: due, sent, done, code."),
    ] = None
    hdr_log: Annotated[str | None, output_option(hidden=True, callback=_refuse_hdr_log)] = None
    live: Annotated[bool, output_option(help="Show progress, if standard error is a terminal.")] = True


class Reports:
    """The requested reports. If one cannot be written, the others still are, and `are_complete` is false."""

    def __init__(self, files: Mapping[str, OutputFile], *, as_json: bool) -> None:
        self.raw_log: RawLog | None = None
        self.are_complete = True
        self._writers: list[tuple[str, Callable[[Record], None]]] = []
        if html := files.get("--html"):
            self._writers.append((f"--html {html.path}", partial(_write_html, html)))
        if log := files.get("--raw-log"):
            self.raw_log = RawLog(log.begin)
            self._writers.append((f"--raw-log {log.path}", partial(_finish_raw_log, log, self.raw_log)))
        self._writers.append(("standard output", partial(_print, as_json=as_json)))

    def write(self, record: Record) -> None:
        """Writes all reports and names on standard error those that could not be written."""
        for name, write in self._writers:
            try:
                write(record)
            except Exception as error:  # noqa: BLE001 - a defect of one report must not lose minutes of results
                self.are_complete = False
                why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
                with suppress(OSError):  # the terminal may be gone, too
                    report(f"{name} could not be written: {why or error}", command=COMMAND)


@contextmanager
def open_reports(flags: ReportFlags, *, inputs: Mapping[str, str | Path]) -> Iterator[Reports]:
    """Opens the report files; those that are not written by the end of the block stay as they were.

    `inputs` are the files that the load test reads, by their options.

    Raises:
        typer.BadParameter: A file cannot be written, is named twice, or is one of the inputs.
    """
    texts = {"--html": flags.html, "--raw-log": flags.raw_log}
    paths = {option: parse_path(option, text) for option, text in texts.items() if text is not None}
    refuse_shared_files(paths, inputs=inputs)
    with ExitStack() as stack:
        files = {
            option: stack.enter_context(OutputFile(option, path, is_log=option == "--raw-log"))
            for option, path in paths.items()
        }
        yield Reports(files, as_json=flags.as_json)


def _write_html(file: OutputFile, record: Record) -> None:
    from unrolled_loadtest.report.html import render  # noqa: PLC0415 - matplotlib takes a second to load

    file.write(render(record).encode())


def _finish_raw_log(file: OutputFile, log: RawLog, _record: Record) -> None:
    log.end()
    file.finish()


def _print(record: Record, *, as_json: bool) -> None:
    """Prints the record; a reader that closes the pipe early, such as head, is no error."""
    try:
        if as_json:
            typer.echo(json.dumps(json_report.to_json(record)))
        else:
            terminal.show(record)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich turns the first into the second
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at exit
