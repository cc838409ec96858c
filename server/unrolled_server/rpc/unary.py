"""One unary call's reply, from the request's admission until the client has read it.

A file of its own because gRPC holds a reply for longer than its handler runs: until the client takes it.
"""

from unrolled_server.call_context import Context
from unrolled_server.rpc.outbound import Outbound
from unrolled_server.scheduling.admission import Ticket


class UnaryReply:
    """Gives the call's ticket back when the call is over, however it ends."""

    __slots__ = ("_outbound", "_ticket", "peer")

    def __init__(self, ticket: Ticket, context: Context, outbound: Outbound, *, peer: str) -> None:
        self.peer = peer
        self._ticket = ticket
        self._outbound = outbound
        context.add_done_callback(self._end)  # type: ignore[arg-type]  # the stubs want a class of their own

    def end_work(self) -> None:
        """The reply is computed; it may have to wait for a turn."""
        self._ticket.end_work()

    def begin_sending(self) -> None:
        """GRPC is about to get the reply."""
        self._outbound.begin(self)

    def set_aside(self) -> int:
        """Counts the call's bytes as those of a slow reader."""
        self._ticket.set_aside()
        return self._ticket.byte_count

    def _end(self, _context: Context) -> None:
        self._outbound.end(self)
        self._ticket.release()
