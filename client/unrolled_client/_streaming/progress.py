"""The progress bar of a bulk call."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def progress_bar(unit: str, *, total: int | None, is_wanted: bool) -> Iterator[Callable[[int], None]]:
    """Yields a function that advances the bar, which appears only if stderr is a terminal, until the end.

    `total` is None if it is unknown.
    """
    if not is_wanted or not _is_terminal(sys.stderr):
        yield lambda _count: None
        return
    try:
        from rich import progress  # noqa: PLC0415 - an extra
        from rich.console import Console  # noqa: PLC0415
    except ModuleNotFoundError as error:
        message = "progress=True needs rich: pip install 'unrolled[cli]'"
        raise ModuleNotFoundError(message, name=error.name) from None
    count = "{task.completed}" if total is None else progress.MofNCompleteColumn()
    left = () if total is None else ("left:", progress.TimeRemainingColumn())
    columns = (progress.BarColumn(), count, unit, progress.TimeElapsedColumn(), *left)
    console = Console(stderr=True)
    # Prints appear above the bar; those to a file or pipe would otherwise land on the terminal.
    redirects = _is_terminal(sys.stdout)
    with progress.Progress(*columns, console=console, transient=True, redirect_stdout=redirects) as bar:
        task = bar.add_task("", total=total)
        yield lambda count: bar.advance(task, count)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None if it is closed
