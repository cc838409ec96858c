"""A gRPC server that answers every request with the same reply: `python -m unrolled_loadtest.echo_server`.

It reads the reply from standard input, prints its address, and ends when its input does.
"""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_id

from unrolled_loadtest.generator.process_pool import pipe

_SERVICE = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name


async def serve(reply: bytes) -> None:
    """Serves until standard input ends."""

    async def forward(_request: bytes, _context: object) -> bytes:
        return reply

    async def forward_stream(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield reply + split_id(request)[1]

    async def get_server_info(_request: bytes, _context: object) -> bytes:
        return b""

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Forward": grpc.unary_unary_rpc_method_handler(forward),
        "ForwardStream": grpc.stream_stream_rpc_method_handler(forward_stream),
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(get_server_info),
    }
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201 - the parent waits for it
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop(grace=None)


@contextmanager
def echo_server(reply: bytes) -> Iterator[str]:
    """Yields the address of an echo server in a separate process, which ends with the block."""
    command = [sys.executable, "-P", "-m", "unrolled_loadtest.echo_server"]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            pickle.dump(reply, pipe(process.stdin))
            pipe(process.stdin).flush()
            yield pipe(process.stdout).readline().decode().strip()
        finally:
            pipe(process.stdin).close()
            process.wait()  # Popen would close its output first, and after Ctrl-C it would not wait


if __name__ == "__main__":
    asyncio.run(serve(pickle.load(sys.stdin.buffer)))  # noqa: S301 - from our own parent
