"""Runs clients that request much on streams and stop reading, in a process that can be killed.

Usage: python -m tests.fault_injection.stalling TARGET COUNT. It prints a line when each client has read its
first reply, and then waits until it is killed.
"""

import asyncio
import sys

import grpc.aio
from unrolled.v1 import forward_pb2 as pb

OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# 64 words of 10 letters, 256 units: replies of 640 KiB; a stream may hold about 25 of them.
REQUEST = pb.ForwardRequest(words=[LETTERS[:10]] * 64, alphabet=LETTERS, hidden_size=256).SerializeToString()
REQUESTS = 100


async def stall(target):
    """Requests a hundred replies and reads one."""
    channel = grpc.aio.insecure_channel(target, options=OPTIONS)
    call = channel.stream_stream("/unrolled.v1.ForwardService/ForwardStream")()

    async def ask():
        for _ in range(REQUESTS):
            await call.write(REQUEST)

    asking = asyncio.create_task(ask())
    await call.read()
    return channel, call, asking


async def main(target, count):
    clients = [await stall(target) for _ in range(count)]
    print(f"{len(clients)} clients stopped reading", flush=True)  # noqa: T201 - what the test waits for
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
