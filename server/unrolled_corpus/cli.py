"""The command `unrolled-map`."""

import contextlib
import json
import signal
import sys
import time
from typing import Annotated, Any, Never

import typer
from typer.core import TyperCommand
from unrolled.option_groups import with_groups, write_option_groups
from unrolled_server.exit_codes import EXIT_INTERRUPTED, EXIT_UNFINISHED, exit_code_of_signal

from unrolled_corpus.cli_options import CorpusFlags, PlacementFlags, check_options
from unrolled_corpus.errors import CorpusError, describe_os_error
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.progress import Display
from unrolled_corpus.workspace import Workspace

_MAX_SHOWN_NAMES = 5
_INTERRUPTED = "interrupted; what is finished is kept; the same command resumes"

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's panels cut off the names of options
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command."""
    app(prog_name="unrolled-map")


class _GroupedCommand(TyperCommand):
    """A command whose help page has a section for each group of options."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        write_option_groups(self.get_params(ctx), ctx, formatter)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


@app.command(cls=_GroupedCommand)
@with_groups
def unrolled_map(
    *,
    corpus: CorpusFlags,
    parameters: Parameters,
    placement: PlacementFlags,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
) -> None:
    """Run every text of a corpus through recurrent networks and write the vectors as Parquet.

    Each distinct text is computed once. To resume a job that was killed, give the same command again.

    Example: unrolled-map corpus.parquet vectors/ --hidden-size 64 --seeds 0-9
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _interrupt)
    began_s = time.perf_counter()
    try:
        counts, seconds, was_resumed = _run(corpus, parameters, placement)
    except KeyboardInterrupt:
        _exit(_INTERRUPTED, EXIT_INTERRUPTED)
    except _InterruptedError as interrupted:
        _exit(_INTERRUPTED, interrupted.exit_code)
    except CorpusError as error:
        _exit(str(error), error.exit_code)
    except OSError as error:
        _exit(str(describe_os_error(error)), EXIT_UNFINISHED)
    seconds["all"] = time.perf_counter() - began_s
    if as_json:
        typer.echo(json.dumps({**counts, "seconds": seconds}))
    else:
        _print_summary(counts, seconds, was_resumed=was_resumed)


def _run(
    corpus: CorpusFlags, parameters: Parameters, placement: PlacementFlags
) -> tuple[dict[str, Any], dict[str, float], bool]:
    """Runs the job and returns its counts, the seconds of its passes and whether it was resumed."""
    parameters = check_options(corpus, parameters)
    # Ray and pyarrow take seconds to import, which --help and a wrong option should not cost.
    from unrolled_corpus.job import Job  # noqa: PLC0415
    from unrolled_corpus.manifest import JobSpec  # noqa: PLC0415
    from unrolled_corpus.parquet_input import open_input  # noqa: PLC0415

    display = Display()
    source = open_input(corpus.source_path, column=corpus.column, keep=corpus.kept_columns)
    if source.skipped_names:
        names = ", ".join(source.skipped_names[:_MAX_SHOWN_NAMES])
        more_count = len(source.skipped_names) - _MAX_SHOWN_NAMES
        more = f" and {more_count:,} more" if more_count > 0 else ""
        display.print(f"not read, because they are not Parquet files: {names}{more}")
    job = Job(
        spec=JobSpec(parameters=parameters, source=source, workspace=Workspace(corpus.output_path)),
        display=display,
        address=placement.address,
        worker_count=placement.workers,
        state_memory_bytes=placement.state_memory_mb << 20,
    )
    counts = job.run()
    return counts | {"computed_rows": job.computed_rows}, job.seconds, job.found_count > 0


def _print_summary(counts: dict[str, Any], seconds: dict[str, float], *, was_resumed: bool) -> None:
    rows, texts = counts["rows"], counts["texts"]
    typer.echo(f"{rows:,} rows, {texts:,} distinct texts ({texts / rows:.0%}), each computed once")
    if counts["computed_rows"]:
        typer.echo(
            f"{counts['computed_rows']:,} states computed for {counts['asked_rows']:,} symbols of them"
        )
    passes = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "all")
    # An earlier start took a part of the time.
    rate = "" if was_resumed else f", {rows / seconds['all']:,.0f} texts/s"
    typer.echo(f"{seconds['all']:.1f} s ({passes or 'nothing was left'}){rate}")


class _InterruptedError(SystemExit):
    """A signal that ends the command; a SystemExit, so that no library handles it as an error."""

    def __init__(self, number: int) -> None:
        self.exit_code = exit_code_of_signal(number)
        super().__init__(self.exit_code)


def _interrupt(number: int, _frame: object) -> Never:
    raise _InterruptedError(number)


def _exit(message: str, exit_code: int) -> Never:
    with contextlib.suppress(OSError):  # the reader of standard error may be gone
        typer.echo(f"unrolled-map: {message}", err=True)
    sys.exit(exit_code)
