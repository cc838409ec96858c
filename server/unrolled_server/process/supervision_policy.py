"""Decides when workers may serve and when dead ones are replaced, without processes or clocks."""

from collections.abc import Sequence

from unrolled_server.exit_codes import EXIT_ENGINE, EXIT_WORKERS, StartupError

RESTART_DELAY_S = 1.0
MAX_DELAY_S = 30.0
MAX_UNSERVED_COUNT = 5
"""Workers that die one after another before they serve; further ones are unlikely to."""


class WorkersError(StartupError):
    """The workers cannot go on, or did not end well."""

    exit_code = EXIT_WORKERS


class ReadinessGate:
    """The workers that are verified or serve, by their process ids.

    At the first start all wait for each other, so that the server is ready as a whole or not at all. Later a
    worker may serve as soon as it is verified.
    """

    def __init__(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._fingerprint: str | None = None
        self._waiting: list[int] = []
        self._serving: set[int] = set()
        self._is_open = False
        self.is_ready = False

    @property
    def is_serving(self) -> bool:
        return bool(self._serving)

    def add_verified(self, pid: int, *, fingerprint: str) -> Sequence[int]:
        """Adds a verified worker; returns those that may serve now.

        Raises:
            WorkersError: It computes other bits than the first. Once ready, that means that the program has
                changed under the server, so a new start helps.
        """
        self._fingerprint = self._fingerprint or fingerprint
        if fingerprint != self._fingerprint:
            raise WorkersError(
                f"workers compute different bits: fingerprint {fingerprint} beside {self._fingerprint}; "
                "restart the server, so that all workers run one version",
                exit_code=EXIT_WORKERS if self.is_ready else EXIT_ENGINE,
            )
        self._waiting.append(pid)
        self._is_open = self._is_open or len(self._waiting) == self._worker_count
        if not self._is_open:
            return ()
        admitted, self._waiting = self._waiting, []
        return admitted

    def add_serving(self, pid: int) -> bool:
        """Adds a worker that serves; returns whether this makes the server ready, which happens once."""
        self._serving.add(pid)
        if self.is_ready or len(self._serving) < self._worker_count:
            return False
        self.is_ready = True
        return True

    def remove(self, pid: int) -> bool:
        """Removes a dead worker; returns whether it served."""
        if pid in self._waiting:
            self._waiting.remove(pid)
        served = pid in self._serving
        self._serving.discard(pid)
        return served


class RestartBackoff:
    """The delay before a dead worker is replaced; one for all workers of a server."""

    def __init__(self) -> None:
        self._unserved_count = 0

    def next_delay(self, *, served: bool, others_serve: bool) -> float:
        """Returns the seconds to wait: none after a worker that served, because its start worked.

        Raises:
            WorkersError: Many never served, and none serves now. While others serve, what hinders a start may
                pass.
        """
        if served:
            self._unserved_count = 0
            return 0.0
        self._unserved_count += 1
        if self._unserved_count < MAX_UNSERVED_COUNT:
            return RESTART_DELAY_S
        if others_serve:
            return MAX_DELAY_S
        raise WorkersError(
            f"{MAX_UNSERVED_COUNT} workers died one after another before they served; the log above says how"
        )
