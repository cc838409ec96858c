"""A queue that shares compute time fairly between clients."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

Entry = TypeVar("Entry")

# Clients without entries are swept when there are twice as many clients as after the last sweep, and this
# many more.
MAX_IDLE_CLIENTS = 64


class _Waiting(NamedTuple, Generic[Entry]):
    """Ordered by tag, then by arrival. Numbers are unique, so entries are never compared."""

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
    """Start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). Not thread-safe.

    An entry's tag is the time at which it would start if its client had only its own entries before it and
    all clients advanced alike; the lowest tag is next. So a flood delays another client's single entry by the
    running batch, not by all that the flood has waiting.
    """

    def __init__(self) -> None:
        self._heap: list[_Waiting[Entry]] = []
        self._clients: dict[str, _Client] = {}
        self._now_tag = 0.0  # start tag of the entry popped last
        self._added_count = 0
        self._waiting_clients = 0
        self._sweep_at = MAX_IDLE_CLIENTS
        self.waiting_s = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, entry: Entry, *, client: str, cost_s: float, share: float) -> None:
        """Adds an entry that will take about `cost_s` and fills the part `share` of a batch."""
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
        """Returns an upper bound of the seconds of entries that an entry added now would wait for.

        While a client's entries of so many seconds are computed, each other client gets as much time.
        """
        owner = self._clients.get(client)
        own_s = owner.waiting_s if owner else 0.0
        other_count = self._waiting_clients - bool(owner and owner.waiting_count)
        return min(self.waiting_s, own_s + other_count * (own_s + cost_s))

    def pop_batch(self, is_wanted: Callable[[Entry], bool] = lambda _: True) -> list[Entry]:
        """Removes and returns the next batch: lowest tags first, until the shares add up to 1.

        An entry with a share above 1 is a batch of its own. Entries that are no longer wanted are dropped.
        """
        batch: list[Entry] = []
        room = 1.0
        while self._heap:
            first = self._heap[0]
            if is_wanted(first.entry):
                if batch and first.share > room:
                    break
                room -= first.share
                batch.append(first.entry)
                self._now_tag = first.start_tag
            self._pop()
        return batch

    def _pop(self) -> None:
        popped = heapq.heappop(self._heap)
        owner = self._clients[popped.client]
        owner.waiting_count -= 1
        self._waiting_clients -= not owner.waiting_count
        if not self._heap:  # no client has anything to catch up with
            self._clients.clear()
            self.waiting_s = 0.0
            return
        owner.waiting_s -= popped.cost_s
        self.waiting_s -= popped.cost_s
        if len(self._clients) > self._sweep_at:
            self._clients = {
                name: client
                for name, client in self._clients.items()
                if client.waiting_count or client.finish_tag > self._now_tag
            }
            self._sweep_at = 2 * len(self._clients) + MAX_IDLE_CLIENTS
