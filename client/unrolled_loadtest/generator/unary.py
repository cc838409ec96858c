"""Lanes of one request at a time: unary calls, and calls that the SDK merges."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc.aio
from google.protobuf.message import DecodeError
from unrolled_client import AsyncClient, UnrolledError
from unrolled_client.low_level import Endpoint
from unrolled_client.results import Result

from unrolled_loadtest.generator.events import UNANSWERED
from unrolled_loadtest.generator.pacer import Item, Pacer
from unrolled_loadtest.generator.recorder import Ledger
from unrolled_loadtest.generator.reply_reader import Reply, read
from unrolled_loadtest.workload.plan import Questions
from unrolled_loadtest.workload.requests import Workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

Ask: TypeAlias = Callable[[int], Awaitable[Any]]
"""Asks the request of an index."""
Read: TypeAlias = Callable[[Any], Reply]
"""What counts of what was answered."""

_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]


class Callers:
    """As many callers as there is work for; a caller is a task, which asks one request after the other.

    Args:
        ask: Asks.
        read: Reads the answer.
        ledger: Notes it.
    """

    def __init__(self, ask: Ask, read: Read, *, ledger: Ledger) -> None:
        self._ask = ask
        self._read = read
        self._ledger = ledger
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, item: Item, *, pacer: Pacer) -> None:
        """Another caller, who begins with this request."""
        task = asyncio.create_task(self._work(item, pacer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _work(self, first: Item, pacer: Pacer) -> None:
        item: Item | None = first
        while item is not None:
            await self._ask_one(item, pacer)
            item = pacer.take()
            if item is None:
                item = await pacer.park()

    async def _ask_one(self, item: Item, pacer: Pacer) -> None:
        ledger, reply = self._ledger, None
        index = ledger.index_of(item.number)
        sent_s = done_s = pacer.now_s()
        code = _INTERNAL
        ledger.sent_count += 1
        ledger.in_flight_count += 1
        try:
            answer = await self._ask(index)
            done_s = pacer.now_s()
            reply = self._read(answer)
            code = reply.code
        except asyncio.CancelledError:  # also for a server's CANCELLED
            done_s, code = pacer.now_s(), _CANCELLED
            if is_cancelled_by_us():
                code = UNANSWERED
                raise
        except (grpc.aio.AioRpcError, UnrolledError, DecodeError) as error:
            done_s, code = pacer.now_s(), code_of(error)
        finally:
            ledger.in_flight_count -= 1
            ledger.note(item, index, sent_s=sent_s, done_s=done_s, code=code, reply=reply)


def unary(
    methods: Iterator[Callable[..., Any]], workload: Workload, *, endpoint: Endpoint, timeout_s: float
) -> tuple[Ask, Read]:
    """Asks by bytes in and bytes out."""
    data = workload.data
    metadata = [endpoint.metadata_for(request) for request in workload.requests]

    def ask(index: int) -> Awaitable[bytes]:
        call: Awaitable[bytes] = next(methods)(data[index], timeout=timeout_s, metadata=metadata[index])
        return call

    return ask, read


def merged(client: AsyncClient, workload: Workload, questions: Questions) -> tuple[Ask, Read]:
    """Asks as a user of the SDK does, whose calls share requests."""
    calls = [
        partial(
            client.forward,
            request.words,
            hidden_size=request.hidden_size,
            seed=request.seed,
            alphabet=request.alphabet or None,
            layout=request.layout,
            **questions.network,
        )
        for request in workload.requests
    ]
    return lambda index: calls[index](), read_result


def read_result(result: Result) -> Reply:
    """What counts of what the SDK gave."""
    state = () if result.state is None else (result.state.h, result.state.c)
    arrays: list[NDArray[Any]] = [result.outputs, result.lengths]
    arrays += [array for array in state if array is not None]
    timing = result.timing
    is_timed = timing.queue_s > 0 or timing.compute_s > 0  # a kept reply says nothing
    return Reply(
        b"".join([array.tobytes() for array in arrays]),
        timing.queue_s if is_timed else math.nan,
        timing.compute_s if is_timed else math.nan,
    )


def code_of(error: Exception) -> int:
    """GRPC's number for a failed call; INTERNAL for an answer that is none."""
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else getattr(error, "code", None)
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else _INTERNAL


def is_cancelled_by_us() -> bool:
    """Whether this task was told to end."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
