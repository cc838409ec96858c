"""Measures the most that the generator can do: the same requests, sent to an echo server."""

import asyncio
from dataclasses import replace
from typing import Any

import grpc
from unrolled.v1.wire import find_trailer
from unrolled_client.errors import InvalidRequestError
from unrolled_client.low_level import FORWARD, Access, Endpoint, open_aio_channel

from unrolled_loadtest.echo_server import echo_server
from unrolled_loadtest.generator.process_pool import GeneratorError
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.plan import ClosedLoop, Plan
from unrolled_loadtest.workload.requests import make_workload

DURATION_S = 3.0
WARMUP_S = 1.0
CALLERS_PER_PROCESS = 32  # enough to keep a process busy; more add nothing


def measure_ceiling(plan: Plan, *, interrupts: Interrupts | None = None) -> float:
    """Returns answers per second from an echo server, with the plan's processes, transport and requests.

    The echo server shares the machine with the generator, as a server beside it does.

    Raises:
        InvalidRequestError: The transport is merged, whose replies must match the requests.
        UnrolledError: The real server gave no reply to echo, or the generator failed.
        KeyboardInterrupt: A signal came.
    """
    if plan.transport == "merged":
        raise InvalidRequestError("an echo server cannot answer merged calls; calibrate with unary or stream")
    with echo_server(asyncio.run(_first_reply(plan))) as target:
        echoed = run(
            replace(
                plan,
                target=target,
                access=Access(),
                spread=None,
                load=ClosedLoop(concurrency=CALLERS_PER_PROCESS * plan.process_count, duration_s=DURATION_S),
                warmup_s=WARMUP_S,
                stream_count=max(plan.stream_count, plan.process_count),
            ),
            interrupts=interrupts,
        )
    if echoed.ending == "interrupted":
        raise KeyboardInterrupt
    if echoed.ending != "done":
        raise GeneratorError(f"--calibrate: {echoed.ending}: {echoed.reason}")
    return echoed.achieved_per_s


async def _first_reply(plan: Plan) -> bytes:
    """Returns the real server's reply to the first request, without what differs from reply to reply."""
    request = make_workload(plan.request_mix, seed=plan.seed).data[0]
    endpoint = Endpoint(target=plan.target, **plan.access)
    async with open_aio_channel(endpoint) as channel:
        method: Any = channel.unary_unary(FORWARD)
        try:
            reply: bytes = await method(request, timeout=plan.timeout_s, metadata=endpoint.metadata)
        except grpc.RpcError as error:
            raise endpoint.error(error) from None
    return reply[: find_trailer(reply)[0]]
