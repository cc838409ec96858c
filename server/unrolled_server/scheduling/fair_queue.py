"""What waits, and in which order it is taken: a decision without threads, clocks or sockets.

Clients share the time fairly, by start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996): each entry is
tagged with the time at which it would start if its client had only its own entries before it and all clients
advanced alike, and the lowest tag is taken first. So one client's flood delays another's single entry by what
is under way, not by what the flood has waiting.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Entry = TypeVar("Entry")

# Clients that have nothing waiting are looked through when there are twice as many as at the last look, and
# so many more.
MAX_IDLE_CLIENTS = 64


class _Waiting(NamedTuple, Generic[Entry]):
    """Ordered by tag, then by arrival; no two have one number, so entries are never compared."""

    start_tag: float
    number: int
    client: str
    cost_s: float
    share: float
    entry: Entry


@dataclass(slots=True)
class _Client:
    finish_tag: float
    waiting_count: int = 0
    waiting_s: float = 0.0


class FairQueue(Generic[Entry]):
    """Entries by client. Not thread-safe."""

    def __init__(self) -> None:
        self._heap: list[_Waiting[Entry]] = []
        self._clients: dict[str, _Client] = {}
        self._now_tag = 0.0  # the start of what was taken last
        self._added_count = 0
        self._waiting_clients = 0
        self._sweep_at = MAX_IDLE_CLIENTS
        self.waiting_s = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, entry: Entry, *, client: str, cost_s: float, share: float) -> None:
        """Appends an entry to what its client has waiting.

        Args:
            entry: What waits.
            client: On whose account.
            cost_s: Seconds that it will take, at a guess.
            share: The part of a batch that it fills.
        """
        owner = self._clients.get(client)
        if owner is None:
            owner = self._clients[client] = _Client(self._now_tag)
        start_tag = max(self._now_tag, owner.finish_tag)
        owner.finish_tag = start_tag + cost_s
        self._waiting_clients += not owner.waiting_count
        owner.waiting_count += 1
        owner.waiting_s += cost_s
        self.waiting_s += cost_s
        self._added_count += 1
        heapq.heappush(self._heap, _Waiting(start_tag, self._added_count, client, cost_s, share, entry))

    def wait_s(self, client: str, *, cost_s: float) -> float:
        """Seconds of others' and its own entries that an entry added now would wait for, at most.

        While a client's entries of so many seconds are done, each other client gets as many.
        """
        owner = self._clients.get(client)
        own_s = owner.waiting_s if owner else 0.0
        other_count = self._waiting_clients - bool(owner and owner.waiting_count)
        return min(self.waiting_s, own_s + other_count * (own_s + cost_s))

    def take(self, is_wanted: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """The next batch: lowest tag first, until the shares make 1; empty if nothing waits.

        An entry with a share above 1 is a batch of its own. Entries that are not wanted any more are dropped.
        """
        batch: list[Entry] = []
        room = 1.0
        while self._heap:
            if is_wanted(self._heap[0].entry):
                if batch and self._heap[0].share > room:
                    break
                room -= self._heap[0].share
                batch.append(self._heap[0].entry)
                self._now_tag = self._heap[0].start_tag
            self._forget(heapq.heappop(self._heap))
        return batch

    def _forget(self, taken: _Waiting[Entry]) -> None:
        owner = self._clients[taken.client]
        owner.waiting_count -= 1
        self._waiting_clients -= not owner.waiting_count
        if not self._heap:  # nobody has anything to catch up with
            self._clients.clear()
            self.waiting_s = 0.0
            return
        owner.waiting_s -= taken.cost_s
        self.waiting_s -= taken.cost_s
        if len(self._clients) > self._sweep_at:
            self._clients = {
                name: client
                for name, client in self._clients.items()
                if client.waiting_count or client.finish_tag > self._now_tag
            }
            self._sweep_at = 2 * len(self._clients) + MAX_IDLE_CLIENTS
