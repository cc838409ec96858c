"""Messages on standard error, and progress bars if it is a terminal."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

UpdateBar: TypeAlias = Callable[[int], None]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Does nothing, where rich exits: a job continues if no process reads its messages."""


class Display:
    """The job's messages and progress bars."""

    def __init__(self) -> None:
        self._console = _Console(stderr=True)

    def print(self, line: str) -> None:
        """Prints a line without markup; ignores errors."""
        with contextlib.suppress(OSError):
            self._console.print(Text(line), soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, name: str, *, total: int) -> Iterator[UpdateBar]:
        """Shows a bar during the block and yields a function that sets how many units are done."""
        if not sys.stderr.isatty():
            yield lambda _done: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(name, total=total)
            yield lambda done: progress.update(task, completed=done)
