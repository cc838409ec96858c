"""Large writes take turns, so that the event loop has time for small calls between them.

A file of its own because it is the server's only rule of who is served first: writing a megabyte holds the
loop for about a millisecond, and a small call takes half a dozen turns of the loop, so it must not find a
large write of every stream in each of them.
"""

import asyncio
from collections import deque

LARGE_BYTES = 64 << 10


class Turns:
    """Lets one large write begin in each turn of the event loop. Used from one loop.

    It never waits for a write to end: a client that does not read holds up nobody else.
    """

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_taken = False

    async def take(self, byte_count: int) -> None:
        """Waits, before a large write of so many bytes, for a turn of the loop in which no other begins."""
        if byte_count < LARGE_BYTES:
            return
        loop = asyncio.get_running_loop()
        if not self._is_taken:
            self._is_taken = True
            loop.call_soon(self._end)
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _end(self) -> None:
        """Gives the next turn to the one who waits longest; those who left are passed over."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                turn.get_loop().call_soon(self._end)
                return
        self._is_taken = False
