"""The command `unrolled-map`: options to a job, its outcome to a line and an exit code.

Exit codes: 0 when the output is whole, 1 for what may be put right and resumed (a full disk, a machine that
is gone), 2 for wrong options or a text that cannot be in the corpus, 3 for a cluster that cannot be had, 5
for machines that do not keep the promise of equal bits, 6 for word vectors that cannot be loaded, 130 or 143
for a SIGINT or SIGTERM, 129 for a SIGHUP.
"""

import contextlib
import json
import signal
import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any, Never

import typer
from unrolled.option_groups import with_groups
from unrolled_server.exit_codes import (
    EXIT_INTERRUPTED,
    EXIT_UNFINISHED,
    EXIT_VECTORS,
    exit_code_of_signal,
)
from unrolled_server.word_vectors import VectorsError

from unrolled_corpus.cli_options import CorpusFlags, NetworkFlags, PlacementFlags
from unrolled_corpus.errors import CorpusError, unwritable

_MAX_SHOWN_NAMES = 5
_RESUMES = "what is finished is kept; the same command resumes"

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """The entry point."""
    app(prog_name="unrolled-map")


@app.command()
@with_groups
def unrolled_map(
    *,
    corpus: CorpusFlags,
    network: NetworkFlags,
    placement: PlacementFlags,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one line of JSON.")] = False,
) -> None:
    """Run every text of a corpus through recurrent networks; write Parquet.

    Each distinct text is computed once. A job that was killed is resumed by the same command.

    Example: unrolled-map corpus.parquet vectors/ --hidden-size 64 --seeds 0-9
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, _stop)
    began_s = time.perf_counter()
    try:
        counts, seconds, was_resumed = _run(corpus, network, placement)
    except KeyboardInterrupt:
        _end(f"interrupted; {_RESUMES}", EXIT_INTERRUPTED)
    except _StoppedError as stopped:
        _end(f"interrupted; {_RESUMES}", exit_code_of_signal(stopped.number))
    except CorpusError as error:
        _end(str(error), error.exit_code)
    except VectorsError as error:
        _end(str(error), EXIT_VECTORS)
    except OSError as error:
        _end(str(unwritable(error)), EXIT_UNFINISHED)
    seconds["all"] = time.perf_counter() - began_s
    if as_json:
        typer.echo(json.dumps({**counts, "seconds": seconds}))
    else:
        _tell(counts, seconds, was_resumed=was_resumed)


def _run(
    corpus: CorpusFlags, network: NetworkFlags, placement: PlacementFlags
) -> tuple[dict[str, Any], dict[str, float], bool]:
    parameters = network.parameters(corpus)
    # Here, because Ray and pyarrow take seconds that --help and a wrong option should not.
    from unrolled_corpus.job import Job, Placement  # noqa: PLC0415
    from unrolled_corpus.parquet_input import open_source  # noqa: PLC0415
    from unrolled_corpus.progress import Display  # noqa: PLC0415

    display = Display()
    source = open_source(corpus.source_path, column=corpus.column, keep=corpus.kept)
    if source.others:
        display.tell(f"not read, because they are no Parquet files: {_some(source.others)}")
    job = Job(
        parameters=parameters,
        source=source,
        output=corpus.output_path,
        placement=Placement(
            address=placement.address,
            workers=placement.workers,
            state_memory_bytes=placement.state_memory_mb << 20,
        ),
        display=display,
    )
    counts = job.run()
    return counts | {"computed_rows": job.computed_rows}, job.seconds, job.found_count > 0


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_SHOWN_NAMES:,} more" if len(names) > _MAX_SHOWN_NAMES else ""
    return ", ".join(names[:_MAX_SHOWN_NAMES]) + more


def _tell(counts: dict[str, Any], seconds: dict[str, float], *, was_resumed: bool) -> None:
    rows, texts = counts["rows"], counts["texts"]
    typer.echo(f"{rows:,} rows, {texts:,} distinct texts ({texts / rows:.0%}), each computed once")
    if counts["computed_rows"]:
        typer.echo(
            f"{counts['computed_rows']:,} states computed for {counts['asked_rows']:,} symbols of them"
        )
    took = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if name != "all")
    pace = (
        "" if was_resumed else f", {rows / seconds['all']:,.0f} texts/s"
    )  # of all rows, in a part of the time
    typer.echo(f"{seconds['all']:.1f} s ({took or 'nothing was left'}){pace}")


class _StoppedError(SystemExit):
    """A signal asks to end; a SystemExit, because nothing on the way may take it for a failure."""

    def __init__(self, number: int) -> None:
        super().__init__(exit_code_of_signal(number))
        self.number = number


def _stop(number: int, _frame: object) -> Never:
    raise _StoppedError(number)


def _end(message: str, exit_code: int) -> Never:
    with contextlib.suppress(OSError):  # whoever read it may be gone
        typer.echo(f"unrolled-map: {message}", err=True)
    sys.exit(exit_code)
