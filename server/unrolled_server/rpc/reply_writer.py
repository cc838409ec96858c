"""Spaces large writes out, so that the event loop has time for small calls between them."""

import asyncio
from collections import deque

LARGE_BYTES = 64 << 10


class WriteScheduler:
    """Lets one large write start in each iteration of the event loop. Used from one loop.

    A megabyte holds the loop for about a millisecond, and a small call takes half a dozen iterations. Nothing
    waits for a write to end, so a client that does not read delays no other.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False

    async def wait_turn(self, byte_count: int) -> None:
        """Waits, before a large write, for an iteration of the loop in which no other starts."""
        if byte_count < LARGE_BYTES:
            return
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._next_turn)
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _next_turn(self) -> None:
        """Wakes the write that has waited longest; skips cancelled ones."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                turn.get_loop().call_soon(self._next_turn)
                return
        self._is_taken = False
