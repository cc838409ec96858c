"""What real scripts do to a client: restarts, forks, many connections, secrets, and very many calls."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import psutil
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import AsyncClient, Client, InvalidRequestError, OverloadedError, UnavailableError

TIMEOUT_S = 120
LEAK_CALLS = int(os.environ.get("UNROLLED_LEAK_CALLS", "5000"))
"""Calls of the leak test, for each client; 100000 is its long form."""

SYNC_FORK = """
import multiprocessing, sys, threading
from unrolled_client import Client

def call(client, count=20):
    for _ in range(count):
        assert client.forward(["ab"], hidden_size=2, timeout_s=60).outputs.shape == (1, 2, 2)

with Client(sys.argv[1]) as client:
    call(client)
    busy = [threading.Thread(target=call, args=(client, 300)) for _ in range(int(sys.argv[2]))]
    for thread in busy:
        thread.start()
    children = [multiprocessing.get_context("fork").Process(target=call, args=(client,)) for _ in range(3)]
    for child in children:
        child.start()
        child.join(60)
    for thread in busy:
        thread.join()
    call(client)
    print(*(child.exitcode for child in children))
"""
ASYNC_FORK = """
import asyncio, multiprocessing, os, sys
from unrolled_client import AsyncClient, UnavailableError

client = AsyncClient(sys.argv[1])

async def call():
    return (await client.forward(["ab"], hidden_size=2, timeout_s=60)).outputs.shape

def child():
    assert asyncio.run(call()) == (1, 2, 2)

def stranded_child():
    try:
        asyncio.run(call())
    except UnavailableError as error:
        os._exit(7 if "forked" in str(error) else 1)

def forked(target):
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    process.join(60)
    return process.exitcode

async def call_and_fork():
    await call()
    # In another thread: the child then runs no loop yet.
    return await asyncio.to_thread(forked, stranded_child)

asyncio.run(call())
print(forked(child), forked(child), asyncio.run(call_and_fork()))
asyncio.run(call())
asyncio.run(client.close())
"""


def run_script(code, *arguments):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("busy_thread_count", [0, 2])
def test_a_forked_child_uses_its_parents_client(server_address, busy_thread_count):
    """The same Client works in children, and in the parent afterwards, also if threads were calling."""
    assert run_script(SYNC_FORK, server_address, busy_thread_count) == ["0", "0", "0"]


def test_a_forked_child_uses_an_async_client_on_a_loop_of_its_own(server_address):
    """A child works after the parent's loop has ended; while the loop runs, the child gets an error."""
    assert run_script(ASYNC_FORK, server_address) == ["0", "0", "7"]


def refusing_first(count, *, pushback_ms):
    """An answer that is overloaded for the first calls, and the calls that came."""
    calls = []

    def answer(_data, context):
        calls.append(None)
        if len(calls) <= count:
            if pushback_ms is not None:
                context.set_trailing_metadata((("grpc-retry-pushback-ms", str(pushback_ms)),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return pb.GetServerInfoReply(version="1").SerializeToString()

    return answer, calls


@pytest.mark.parametrize("pushback_ms", [1, None])
def test_an_overloaded_server_is_asked_again(make_client, serve, pushback_ms):
    """RESOURCE_EXHAUSTED is retried within the call, when the server says or else with backoff."""
    answer, calls = refusing_first(2, pushback_ms=pushback_ms)
    with make_client(serve(answer)) as client:
        assert client.server_info().version == "1"
    assert len(calls) == 3


def test_a_server_that_says_do_not_retry_is_obeyed(make_client, serve):
    """A negative pushback ends the call with the first refusal."""
    answer, calls = refusing_first(2, pushback_ms=-1)
    with make_client(serve(answer)) as client, pytest.raises(OverloadedError, match="full"):
        client.server_info()
    assert len(calls) == 1


def test_channels_are_connections_of_their_own(make_client, serve):
    """With channels=3 calls arrive over three connections, in turn; without, over one."""
    peers = []

    def answer(_data, context):
        peers.append(context.peer())
        return pb.GetServerInfoReply().SerializeToString()

    target = serve(answer)
    for channels in (1, 3):
        peers.clear()
        with make_client(target, channels=channels) as client:
            for _ in range(6):
                client.server_info()
        assert len(set(peers)) == channels


def test_a_token_travels_with_every_call(make_client, serve):
    """The token arrives as a bearer token, over loopback, and is in no repr."""
    seen = []

    def answer(_data, context):
        seen.append(dict(context.invocation_metadata()).get("authorization"))
        return pb.GetServerInfoReply().SerializeToString()

    with make_client(serve(answer), token="s3cret", channels=2) as client:
        client.server_info()
        client.server_info()
        assert "s3cret" not in repr(client)
    assert seen == ["Bearer s3cret"] * 2


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("target", ["example.org:50051", "10.0.0.1:1", "dns:///x:1", "localhost.evil.org:1"])
def test_a_token_in_clear_text_is_refused(kind, target):
    """Without TLS a token goes nowhere but to this machine."""
    with pytest.raises(InvalidRequestError, match="clear text"):
        kind(target, token="s3cret")


@pytest.mark.parametrize(
    "target",
    ["localhost:1", "127.0.0.1:1", "[::1]:1", "unix:/tmp/x", "dns:///localhost:1", "ipv4:127.1.2.3:1"],
)
def test_a_token_may_stay_on_this_machine(target):
    """Loopback addresses and Unix sockets need no TLS."""
    Client(target, token="s3cret").close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"channels": 0}, "channels is 0"),
        ({"private_key": b"x"}, "go together"),
        ({"private_key": b"x", "certificate_chain": b"x"}, "needs TLS"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(arguments, message):
    """Mistakes in the connection's arguments are found when the client is made."""
    with pytest.raises(InvalidRequestError, match=message):
        Client(**arguments)


def test_tls_is_spoken_where_roots_are_given(make_client, server_identity, authority):
    """With the server's authority a call arrives; a client in clear text gets nothing."""
    info = pb.GetServerInfoReply(version="tls").SerializeToString()
    methods = {"GetServerInfo": grpc.unary_unary_rpc_method_handler(lambda _data, _context: info)}
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", methods),)
    )
    pair = (server_identity.key.read_bytes(), server_identity.certificate.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        with make_client(f"localhost:{port}", root_certificates=authority.pem, token="t") as client:
            assert client.server_info().version == "tls"
        with make_client(f"localhost:{port}") as client, pytest.raises(UnavailableError):
            client.server_info(timeout_s=TIMEOUT_S)
    finally:
        server.stop(grace=None).wait()


@pytest.mark.long
def test_many_calls_leave_nothing_behind(make_client, server_address):
    """After thousands of calls there are no more sockets and threads than after a few, nor much memory."""
    process = psutil.Process()

    def call_often(count):
        for _ in range(count):
            client.forward(["ab"], hidden_size=2)

    def call(count):
        with ThreadPoolExecutor(4) as pool:  # with one task a thread: tasks that wait are memory too
            list(pool.map(call_often, [count // 4] * 4))

    with make_client(server_address) as client:
        call(min(1_000, LEAK_CALLS))
        before = process.num_fds(), threading.active_count(), process.memory_info().rss
        call(LEAK_CALLS)
        after = process.num_fds(), threading.active_count(), process.memory_info().rss
    print(f"{LEAK_CALLS} calls: fds, threads, bytes {before} -> {after}")  # noqa: T201 - for the long form
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1]
    assert after[2] <= before[2] + (32 << 20)


def test_clients_that_come_and_go_leave_nothing_behind(make_client, server_address):
    """Fifty clients, each used and closed, leave no socket and no thread."""

    def use():
        with make_client(server_address) as client:
            client.server_info()

    for _ in range(5):
        use()
    process = psutil.Process()
    before = process.num_fds(), threading.active_count()
    for _ in range(50):
        use()
    # The server, which is in this process too, closes its ends of the connections a moment later.
    until_s = time.monotonic() + TIMEOUT_S
    while process.num_fds() > before[0] + 4 or threading.active_count() > before[1]:
        assert time.monotonic() < until_s
