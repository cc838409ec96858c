"""When workers may serve, and when the server is ready: a decision without processes or clocks."""

from collections.abc import Sequence


class DifferentBitsError(Exception):
    """A worker computes other bits than one before it. A retry does not help."""


class Muster:
    """Counts the workers that are proved and that serve, by their process ids.

    At the first start all wait for each other, so that the server is ready as a whole or not at all. From
    then on a worker may serve as soon as it is proved.

    Args:
        worker_count: How many make the whole.
    """

    def __init__(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._fingerprint: str | None = None
        self._waiting: list[int] = []
        self._serving: set[int] = set()
        self._is_complete = False
        self.is_ready = False

    @property
    def is_serving(self) -> bool:
        """Whether any serves."""
        return bool(self._serving)

    def prove(self, pid: int, *, fingerprint: str) -> Sequence[int]:
        """A worker is proved; gives those that may serve now.

        Raises:
            DifferentBitsError: Its fingerprint is not that of the first.
        """
        self._fingerprint = self._fingerprint or fingerprint
        if fingerprint != self._fingerprint:
            raise DifferentBitsError(
                f"workers compute different bits: fingerprint {fingerprint} beside {self._fingerprint}; "
                "start the server anew, with all workers on one version and one kind of core"
            )
        self._waiting.append(pid)
        self._is_complete = self._is_complete or len(self._waiting) == self._worker_count
        if not self._is_complete:
            return ()
        let_in, self._waiting = self._waiting, []
        return let_in

    def serve(self, pid: int) -> bool:
        """A worker serves; gives whether this makes the server ready, which happens once."""
        self._serving.add(pid)
        if self.is_ready or len(self._serving) < self._worker_count:
            return False
        self.is_ready = True
        return True

    def lose(self, pid: int) -> bool:
        """A worker is dead; gives whether it served."""
        if pid in self._waiting:
            self._waiting.remove(pid)
        served = pid in self._serving
        self._serving.discard(pid)
        return served
