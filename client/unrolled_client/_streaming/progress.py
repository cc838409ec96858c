"""A progress bar for those who ask for one; it is a file of its own because only they load rich."""

import sys
from collections.abc import Callable, Generator, Iterator, Sized
from contextlib import contextmanager

from unrolled_client.results import Outcome


@contextmanager
def progress_bar(batches: object, *, is_wanted: bool = True) -> Iterator[Callable[[], None]]:
    """Gives what counts one batch on, on standard error where that is a terminal, else nowhere.

    Raises:
        ModuleNotFoundError: There is a terminal and no rich.
    """
    if not is_wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - loaded when asked for
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "progress=True needs rich: pip install 'unrolled[cli]'", name=error.name
        ) from None
    total = len(batches) if isinstance(batches, Sized) else None
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("batches", total=total)
        yield lambda: bar.advance(task)


def with_progress(
    outcomes: Generator[Outcome, None, None], *, batches: object
) -> Generator[Outcome, None, None]:
    """The same outcomes, counted by a `progress_bar`."""
    with progress_bar(batches) as advance:
        for outcome in outcomes:
            advance()
            yield outcome
