"""How replies leave: large ones in turns, and with an eye on who is slow to read them."""

import time
from dataclasses import dataclass

from unrolled_server.rpc.reply_writer import Turns
from unrolled_server.scheduling.slow_consumers import SlowReaders, Unread


@dataclass(frozen=True, slots=True)
class Outbound:
    """What unary calls and streams ask before and after they give a reply to gRPC."""

    turns: Turns
    slow_readers: SlowReaders

    async def take_turn(self, byte_count: int) -> None:
        """Waits until a reply of so many bytes may be written."""
        await self.turns.take(byte_count)

    def begin(self, unread: Unread) -> None:
        """Its client has to read it from now on."""
        self.slow_readers.begin(unread, now_s=time.monotonic())

    def end(self, unread: Unread) -> None:
        """It is read, or its client is gone."""
        self.slow_readers.end(unread)
