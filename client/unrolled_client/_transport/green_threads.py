"""Adapts gRPC to gevent, and refuses eventlet: under their green threads gRPC's own threads never run."""

import sys
from functools import cache

from unrolled_client.errors import InvalidRequestError


def adapt_grpc() -> None:
    """Initializes gRPC for gevent if gevent has patched threading."""
    if _is_gevent():
        _initialize_for_gevent()
    eventlet = sys.modules.get("eventlet.patcher")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise InvalidRequestError(
            "eventlet has patched this process's threads, with which gRPC's calls never end: use gevent, or "
            "eventlet.monkey_patch(thread=False)"
        )


def refuse_aio() -> None:
    """Refuses grpc.aio, whose calls would never end, if gevent or eventlet has patched threading."""
    if _is_gevent():
        raise InvalidRequestError(
            "gevent has patched this process's threads, with which AsyncClient's calls never end: use Client"
        )
    adapt_grpc()


def _is_gevent() -> bool:
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


@cache  # a second time would leave gRPC's greenlets in two groups
def _initialize_for_gevent() -> None:
    from grpc.experimental.gevent import init_gevent  # noqa: PLC0415 - it imports gevent

    init_gevent()
