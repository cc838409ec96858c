"""Measures what the generator can do at most: the same requests, asked of a server that does nothing."""

from dataclasses import replace
from typing import Any

import grpc
from unrolled.v1.wire import find_trailer
from unrolled_client.errors import InvalidRequestError
from unrolled_client.low_level import FORWARD, Access, Endpoint, open_channel

from unrolled_loadtest.echo_server import echo_server
from unrolled_loadtest.generator.process_pool import GeneratorError
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.plan import ClosedLoop, Plan
from unrolled_loadtest.workload.requests import make_workload

DURATION_S = 3.0
WARMUP_S = 1.0
CALLERS = 32
"""Of each process; so many keep it busy, and more do no more."""


def ceiling_of(plan: Plan, *, interrupts: Interrupts | None = None) -> float:
    """Returns answers per second from an echo server, with the plan's processes, transport and requests.

    Client and echo server share the machine, as the generator does with a server beside it.

    Raises:
        InvalidRequestError: The transport is merged, whose answers must fit what was asked.
        UnrolledError: The real server gave no reply that could be echoed, or the generator failed.
        KeyboardInterrupt: A signal came.
    """
    if plan.transport == "merged":
        raise InvalidRequestError("an echo cannot answer merged calls; calibrate with unary or stream")
    with echo_server(_reply_to_first(plan)) as target:
        load = ClosedLoop(concurrency=CALLERS * plan.process_count, duration_s=DURATION_S)
        echoed = run(
            replace(
                plan,
                target=target,
                access=Access(),
                spread=None,
                load=load,
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


def _reply_to_first(plan: Plan) -> bytes:
    """The real server's answer to the first request, as it would be repeated."""
    request = make_workload(plan.questions, seed=plan.seed).data[0]
    endpoint = Endpoint(target=plan.target, **plan.access)
    with open_channel(endpoint) as channel:
        try:
            method: Any = channel.unary_unary(FORWARD)
            reply: bytes = method(request, timeout=plan.timeout_s, metadata=endpoint.metadata)
        except grpc.RpcError as error:
            raise endpoint.error(error) from None
    return reply[: find_trailer(reply)[0]]
