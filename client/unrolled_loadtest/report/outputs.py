"""Where the results of a load test go: files, which are opened before the load, and standard output."""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Self

import typer
from unrolled_client.cli.connect import report
from unrolled_client.cli.options import output_option
from unrolled_client.cli.output_files import OutputFile, parse_path

if TYPE_CHECKING:
    from unrolled_loadtest.report.raw_log import RawLog
    from unrolled_loadtest.results.record import Record

_DEVICES = Path("/dev")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlags:
    """How the results are reported."""

    as_json: Annotated[bool, output_option("--json", help="Print one line of JSON instead of tables.")] = (
        False
    )
    html: Annotated[str | None, output_option(metavar="FILE", help="Write a report for a browser.")] = None
    hdr_log: Annotated[str | None, output_option(metavar="FILE", help="Write an HdrHistogram log.")] = None
    raw_log: Annotated[
        str | None,
        output_option(metavar="FILE", help="Write a line for each request: due, sent, done, code."),
    ] = None
    live: Annotated[bool, output_option(help="Show how it goes, on a terminal.")] = True


class Reports:
    """The reports that are asked for. One that cannot be written does not take the others along.

    Args:
        flags: What is asked for.

    Attributes:
        raw_log: Takes a line for each request; None if it is not asked for.
        are_complete: Whether all were written.

    Raises:
        typer.BadParameter: A file cannot be written, or is named twice.
    """

    def __init__(self, flags: ReportFlags) -> None:
        self.raw_log: RawLog | None = None
        self.are_complete = True
        self._as_json = flags.as_json
        self._files: list[tuple[OutputFile, Callable[[Record], bytes]]] = []
        self._log: OutputFile | None = None
        with ExitStack() as stack:
            self._open(flags, stack)
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def write(self, record: "Record") -> None:
        """Writes all reports, those in files first, and says on standard error which could not be written."""
        for file, content_of in self._files:
            with self._noting(f"{file.option} {file.path}"):
                file.write(content_of(record))
        if self._log is not None and self.raw_log is not None:
            with self._noting(f"{self._log.option} {self._log.path}"):
                self.raw_log.end()
                self._log.finish()
        with self._noting("standard output"):
            _print(record, as_json=self._as_json)

    def _open(self, flags: ReportFlags, stack: ExitStack) -> None:
        """Opens the files and loads the packages that write them."""
        texts = {"--html": flags.html, "--hdr-log": flags.hdr_log, "--raw-log": flags.raw_log}
        paths = {option: parse_path(option, text) for option, text in texts.items() if text is not None}
        _refuse_same(paths)
        if path := paths.get("--html"):
            from unrolled_loadtest.report.html import page  # noqa: PLC0415 - loaded when asked for

            file = stack.enter_context(OutputFile("--html", path))
            self._files.append((file, lambda record: page(record).encode()))
        if path := paths.get("--hdr-log"):
            from unrolled_loadtest.report import hdr_log  # noqa: PLC0415 - as above

            file = stack.enter_context(OutputFile("--hdr-log", path))
            make = hdr_log.distribution if path.suffix.lower() == hdr_log.DISTRIBUTION else hdr_log.log
            self._files.append((file, make))
        if path := paths.get("--raw-log"):
            from unrolled_loadtest.report.raw_log import RawLog  # noqa: PLC0415 - as above

            self._log = stack.enter_context(OutputFile("--raw-log", path, is_log=True))
            self.raw_log = RawLog(self._log.begin)

    @contextlib.contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        """Reports that the block failed, whatever the reason: a result that took minutes is at stake."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - see above
            self.are_complete = False
            why = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # the terminal may be gone, too
                report(f"{name} could not be written: {why or error}")


def _refuse_same(paths: dict[str, Path]) -> None:
    """Refuses a file that two options name."""
    options: dict[str, str] = {}
    for option, path in paths.items():
        if path.is_relative_to(_DEVICES):
            continue
        other = options.setdefault(os.path.realpath(path), option)
        if other != option:
            raise typer.BadParameter(f"{other} and {option} name the same file, {path}; give each its own")


def _print(record: "Record", *, as_json: bool) -> None:
    """Prints the record; a reader that has seen enough, such as head, ends that without an error."""
    from unrolled_loadtest.report import json_report, terminal  # noqa: PLC0415 - loaded when asked for

    try:
        if as_json:
            typer.echo(json.dumps(json_report.to_json(record)))
        else:
            terminal.show(record)
        if sys.stdout is not None:
            sys.stdout.flush()
    except (BrokenPipeError, SystemExit):  # rich turns the first into the second
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the exit
