"""May a request come in? One rule for unary calls and streams: a decision without threads, clocks or sockets.

What is held is counted twice: in bytes, of requests and of their replies until gRPC has taken them; and in
multiplications, of what is not computed yet. Beyond a limit a request is refused at once, because a queue
that outlasts its callers' deadlines serves nobody. A request that alone exceeds a limit comes in when nothing
else is there.
"""

from unrolled_server.errors import OverloadedError

# How fast one core works, roughly; it only shapes the advice when to come back.
MULTIPLICATIONS_PER_S = 40e9
BYTES_PER_S = 1e9
# The part of the bytes that streams may keep between requests, beside what is in flight.
KEPT_SHARE = 4
MIN_RETRY_AFTER_S = 0.05
MAX_RETRY_AFTER_S = 5.0


class Admission:
    """Counts what is accepted and refuses what would be too much. Used from one event loop.

    Args:
        max_bytes: Of requests and replies.
        max_multiplications: Of floats, among requests that are not computed yet.
    """

    def __init__(self, *, max_bytes: int, max_multiplications: int) -> None:
        self._max_bytes = max_bytes
        self._max_multiplications = max_multiplications
        self.held_bytes = 0
        self.kept_bytes = 0
        self.held_multiplications = 0
        self.ticket_count = 0

    def admit(self, *, byte_count: int, multiplications: int) -> "Ticket":
        """Lets a request in; the caller releases its ticket.

        Raises:
            OverloadedError: Too much is here already. A retry helps, after the time that it tells.
        """
        if self._is_beyond(byte_count, multiplications):
            raise OverloadedError(
                f"the server is busy: it holds {self.held_bytes >> 20} MiB of requests and replies and "
                f"{self.held_multiplications / 1e9:.1f} billion multiplications; try again later",
                retry_after_s=self._retry_after_s(),
            )
        return Ticket(self, byte_count=byte_count, multiplications=multiplications)

    def keep(self, byte_count: int) -> bool:
        """Whether there is room for bytes that a stream keeps between requests; if so they count.

        They have a part of their own, so that streams that keep much hold up no requests. Who keeps them
        takes them off `kept_bytes` again.
        """
        if self.kept_bytes + byte_count > self._max_bytes // KEPT_SHARE:
            return False
        self.kept_bytes += byte_count
        return True

    def hold(self, byte_count: int) -> "Ticket":
        """Counts what can't be refused: a refusal on its way."""
        return Ticket(self, byte_count=byte_count, multiplications=0)

    def _is_beyond(self, byte_count: int, multiplications: int) -> bool:
        # What is there comes first: a lone request is never beyond.
        bytes_beyond = 0 < self.held_bytes > self._max_bytes - byte_count
        return bytes_beyond or 0 < self.held_multiplications > self._max_multiplications - multiplications

    def _retry_after_s(self) -> float:
        """When what is here will about be done, within bounds."""
        work_s = self.held_multiplications / MULTIPLICATIONS_PER_S
        transfer_s = self.held_bytes / BYTES_PER_S
        return min(max(work_s + transfer_s, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)


class Ticket:
    """One request's part of what an `Admission` counts. Giving it back twice changes nothing."""

    __slots__ = ("_admission", "byte_count", "multiplications")

    def __init__(self, admission: Admission, *, byte_count: int, multiplications: int) -> None:
        self._admission: Admission | None = admission
        self.byte_count = byte_count
        self.multiplications = multiplications
        admission.held_bytes += byte_count
        admission.held_multiplications += multiplications
        admission.ticket_count += 1

    def end_work(self) -> None:
        """The request is computed, or never will be; its bytes stay."""
        if self._admission:
            self._admission.held_multiplications -= self.multiplications
            self.multiplications = 0

    def release(self) -> None:
        """Everything of the request is gone."""
        self.end_work()
        if self._admission:
            self._admission.held_bytes -= self.byte_count
            self._admission.ticket_count -= 1
            self._admission = None
