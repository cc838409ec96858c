"""Lanes of one request at a time: unary calls, and calls that the SDK merges."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.message import DecodeError
from unrolled_client import AsyncClient, Result, UnrolledError
from unrolled_client.low_level import Endpoint

from unrolled_loadtest.generator.events import UNANSWERED
from unrolled_loadtest.generator.pacer import DueRequest, Pacer
from unrolled_loadtest.generator.recorder import Recorder
from unrolled_loadtest.generator.reply_reader import Reply, read_reply
from unrolled_loadtest.workload.plan import RequestMix
from unrolled_loadtest.workload.requests import Workload

Call: TypeAlias = Callable[[int], Awaitable[Any]]
"""Sends the request with an index."""
Read: TypeAlias = Callable[[Any], Reply]
"""Reads what the call returned."""

_CANCELLED = grpc.StatusCode.CANCELLED.value[0]
_INTERNAL = grpc.StatusCode.INTERNAL.value[0]


class UnaryLanes:
    """Tasks that send one request after the other, as many as there is work for."""

    def __init__(self, call: Call, read: Read, *, recorder: Recorder) -> None:
        self._call = call
        self._read = read
        self._recorder = recorder
        self.tasks: set[asyncio.Task[None]] = set()

    def start(self, due: DueRequest, *, pacer: Pacer) -> None:
        """Starts a lane with its first request."""
        task = asyncio.create_task(self._run(due, pacer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _run(self, first: DueRequest, pacer: Pacer) -> None:
        due: DueRequest | None = first
        while due is not None:
            await self._send(due, pacer)
            due = pacer.pop()
            if due is None:
                due = await pacer.wait()

    async def _send(self, due: DueRequest, pacer: Pacer) -> None:
        recorder, reply = self._recorder, None
        index = recorder.index_of(due.number)
        sent_s = done_s = pacer.now_s()
        code = _INTERNAL
        recorder.sent_count += 1
        recorder.in_flight_count += 1
        try:
            answer = await self._call(index)
            done_s = pacer.now_s()
            reply = self._read(answer)
            code = reply.code
        except asyncio.CancelledError:  # also raised for a server's CANCELLED
            done_s, code = pacer.now_s(), _CANCELLED
            if is_cancelled_by_us():
                code = UNANSWERED
                raise
        except (grpc.aio.AioRpcError, UnrolledError, DecodeError) as error:
            done_s, code = pacer.now_s(), code_of(error)
        finally:
            recorder.in_flight_count -= 1
            recorder.record(due, index, sent_s=sent_s, done_s=done_s, code=code, reply=reply)


def unary_calls(
    methods: Iterator[Callable[..., Any]], workload: Workload, *, endpoint: Endpoint, timeout_s: float
) -> tuple[Call, Read]:
    """Returns calls that send and return bytes."""
    data = workload.data
    metadata = [endpoint.metadata_for(request) for request in workload.requests]

    def call(index: int) -> Awaitable[bytes]:
        sent: Awaitable[bytes] = next(methods)(data[index], timeout=timeout_s, metadata=metadata[index])
        return sent

    return call, read_reply


def merged_calls(client: AsyncClient, workload: Workload, mix: RequestMix) -> tuple[Call, Read]:
    """Returns calls as a user of the SDK makes them; the SDK merges them into fewer requests."""
    calls = [
        partial(
            client.forward,
            request.words,
            hidden_size=request.hidden_size,
            seed=request.seed,
            alphabet=request.alphabet or None,
            layout=request.layout,
            **mix.network,
        )
        for request in workload.requests
    ]
    return lambda index: calls[index](), _read_result


def _read_result(result: Result) -> Reply:
    state = () if result.state is None else (result.state.h, result.state.c)
    arrays: list[Any] = [result.outputs, result.lengths, *(array for array in state if array is not None)]
    timing = result.timing
    is_timed = timing.queue_s > 0 or timing.compute_s > 0  # a cached reply has no times
    return Reply(
        b"".join([array.tobytes() for array in arrays]),
        timing.queue_s if is_timed else math.nan,
        timing.compute_s if is_timed else math.nan,
    )


def code_of(error: Exception) -> int:
    """Returns gRPC's code of a failed call; INTERNAL for a reply that cannot be parsed."""
    code = error.code() if isinstance(error, grpc.aio.AioRpcError) else getattr(error, "code", None)
    return int(code.value[0]) if isinstance(code, grpc.StatusCode) else _INTERNAL


def is_cancelled_by_us() -> bool:
    """Returns whether this process, and not gRPC, cancelled the current task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
