"""A progress bar for `map`, which needs rich."""

import sys
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager


@contextmanager
def progress_bar(batches: object, *, is_wanted: bool = True) -> Iterator[Callable[[], None]]:
    """Yields a function that advances the bar by a batch; the bar appears only if stderr is a terminal."""
    if not is_wanted or not sys.stderr.isatty():
        yield lambda: None
        return
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra
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
