"""What waits, and in which order it is taken: a decision without threads, clocks or sockets.

Entries of one network are taken together, oldest first, so what they share is computed once. Networks
take turns: one that has more than a batch holds goes to the end of the line, so a flood for one network
delays another's request by one batch.
"""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class FairQueue(Generic[Entry]):
    """Entries by network. Not thread-safe."""

    def __init__(self) -> None:
        self._lines: OrderedDict[Hashable, deque[tuple[Entry, float]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def add(self, entry: Entry, *, network: Hashable, share: float) -> None:
        """Appends `entry` to its network's line; `share` is the part of a batch that it fills."""
        self._lines.setdefault(network, deque()).append((entry, share))

    def take(self) -> list[Entry]:
        """The next batch: line after line, oldest first, until the shares make 1; empty if nothing waits.

        An entry with a share above 1 is a batch of its own.
        """
        batch: list[Entry] = []
        room = 1.0
        while self._lines:
            network, line = next(iter(self._lines.items()))
            while line and (not batch or line[0][1] <= room):
                entry, share = line.popleft()
                batch.append(entry)
                room -= share
            if line:  # the rest of this line waits behind the others
                self._lines.move_to_end(network)
                break
            del self._lines[network]
        return batch
