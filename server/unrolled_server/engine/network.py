"""The interface of a network in memory, on the native core or on an accelerator, and of what it writes."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from unrolled_server.array_types import Float32, Int32
from unrolled_server.engine.job import InitialStates, Output, Stop
from unrolled_server.engine.words import EncodedWords


class DeviceUnavailableError(RuntimeError):
    """The requested device is not on this machine."""


class DeviceUnstableError(RuntimeError):
    """A word's bits depend on its place among others on this device."""


class TableFullError(Exception):
    """The words need more rows than allowed; the table is empty now."""


@dataclass(slots=True, kw_only=True)
class Reply:
    """Where a run writes. Arrays may be views; the last axis is contiguous.

    Attributes:
        values: None to write nothing. ``Output.ALL``: (words, positions, output), zeros from a word's end on,
            or with numbers (rows, output), row n for each number n. Pooled: (words, output).
        numbers: From 1 on, contiguous; those past a word's end are ignored.
        h_n: Final states if they are wanted; contiguous but for the axis of words.
        c_n: The same for an LSTM.
    """

    output: Output = Output.ALL
    values: Float32[np.ndarray, "*rows output"] | None = None
    numbers: Int32[np.ndarray, "words positions"] | None = None
    h_n: Float32[np.ndarray, "layers words state"] | None = None
    c_n: Float32[np.ndarray, "layers words hidden"] | None = None

    def part(self, start: int, stop: int) -> "Reply":
        """Returns where a run of some of the words writes."""
        values, words = self.values, slice(start, stop)
        return Reply(
            output=self.output,
            values=values if values is None or self.numbers is not None else values[words],
            numbers=None if self.numbers is None else self.numbers[words],
            h_n=None if self.h_n is None else self.h_n[:, words],
            c_n=None if self.c_n is None else self.c_n[:, words],
        )


@runtime_checkable
class Network(Protocol):
    """Weights, and a table of the states that were computed with them. Used by one thread at a time.

    ``row_nbytes`` is the cost of one more row at most, but memory is allocated for many rows at a time.
    Words start from zeros or from given states.
    """

    weights_nbytes: int
    row_nbytes: int

    @property
    def nbytes(self) -> int:
        """Bytes of weights, states and indexes."""

    @property
    def row_count(self) -> int:
        """Rows that were computed and are in memory."""

    def run(self, words: EncodedWords, reply: Reply, *, max_rows: int = 0, stop: Stop | None = None) -> None:
        """Computes the states that are missing and writes the reply.

        Raises TableFullError beyond ``max_rows`` rows (0: no limit), and StoppedError soon after ``stop``
        is due.
        """

    def is_known(self, words: EncodedWords) -> bool:
        """Returns whether all states of the words are in memory."""

    def starting_at(self, starts: InitialStates) -> "Network":
        """Returns a network of the same weights, without rows, whose words start at the given states."""

    def close(self) -> None:
        """Frees the states; no call may follow. Python does it otherwise, but drops a Ctrl-C meanwhile."""
