"""How far a job is: bars on a terminal, silence elsewhere; what must be known is a line of its own in both.

A file of its own because it alone knows rich.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

Show: TypeAlias = Callable[[int], None]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Does nothing, where rich ends the process: a job goes on though nothing reads its messages."""


class Display:
    """Standard error."""

    def __init__(self) -> None:
        self._console = _Console(stderr=True)

    def tell(self, line: str) -> None:
        """Writes a line, as it is, if it can be written."""
        with contextlib.suppress(OSError):
            self._console.print(Text(line), soft_wrap=True)

    @contextlib.contextmanager
    def bar(self, name: str, *, total: int) -> Iterator[Show]:
        """Gives what shows how many units are done."""
        if not sys.stderr.isatty():
            yield lambda _done: None
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as shown:
            task = shown.add_task(name, total=total)
            yield lambda done: shown.update(task, completed=done)
