"""A minimal gRPC server that answers every request with the same bytes.

Usage: python echo_server.py REPLY_FILE; prints its address.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio
from unrolled.v1 import forward_pb2 as pb

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["ForwardService"].full_name


async def serve(reply: bytes) -> None:
    """Serves until the process ends."""

    async def forward(_request: bytes, _context: object) -> bytes:
        return reply

    async def forward_stream(requests: AsyncIterator[bytes], _context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            yield reply

    handlers = {
        "Forward": grpc.unary_unary_rpc_method_handler(forward),
        "ForwardStream": grpc.stream_stream_rpc_method_handler(forward_stream),
    }
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE_NAME, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]).read_bytes()))
