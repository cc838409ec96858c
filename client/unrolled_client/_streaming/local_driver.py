"""Runs an exchange in this process, a request at a time, without a stream."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from typing import Any

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.request import EncodedRequest
from unrolled_client._streaming.aio_driver import Source
from unrolled_client._streaming.driver import TimeLimit
from unrolled_client._streaming.exchange import Exchange
from unrolled_client.results import Outcome


def drive_locally(
    exchange: Exchange[Any], answer: Callable[[EncodedRequest], SplitReply]
) -> Generator[Outcome, None, None]:
    """Yields the outcomes of an exchange, whose batches are taken and computed when they are asked for."""
    while not exchange.is_done:
        if (outcome := exchange.next_outcome()) is not None:
            yield outcome
        elif (request := exchange.next_request(now_s=0.0)) is not None:
            exchange.receive_reply(answer(request), now_s=0.0)


async def drive_locally_async(
    exchange: Exchange[Any],
    answer: Callable[[EncodedRequest], Awaitable[SplitReply]],
    *,
    timeout_s: float | None,
) -> AsyncGenerator[Outcome, None]:
    """Does the same on the event loop; waits up to `timeout_s` for a batch that comes asynchronously."""
    try:
        while not exchange.is_done:
            if (outcome := exchange.next_outcome()) is not None:
                yield outcome
            elif (request := exchange.next_request(now_s=0.0)) is not None:
                exchange.receive_reply(await answer(request), now_s=0.0)
            elif exchange.is_starved and isinstance(exchange.batches, Source):
                done, _ = await asyncio.wait([exchange.batches.pending], timeout=timeout_s)
                if not done:
                    raise TimeLimit(exchange, timeout_s).error("no batch came")
    finally:
        if isinstance(exchange.batches, Source):
            exchange.batches.close()
