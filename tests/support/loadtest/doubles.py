"""Test servers with one fault each, in separate processes: `python doubles.py FAULT`.

`echo` has no fault. `pause` stops for 200 ms once a second. `flip=N` flips one bit of its Nth reply. `fail=N`
refuses every Nth request. `plain` writes its replies in protobuf's own encoding; `mute` and, on streams,
`hush` never answer; `slow` answers 20 requests a second, one after the other.
"""

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager

import grpc
import grpc.aio
import numpy as np
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply, reply_trailer, split_id

PAUSE_S, PERIOD_S = 0.2, 1.0
SHAPE = (3, 5, 2)


class Double:
    """The replies of a test server; the module describes `fault`."""

    def __init__(self, fault):
        self.kind, _, number = fault.partition("=")
        self.number = int(number or 0)
        self.count = 0
        self.turn = asyncio.Lock()
        rest = pb.ForwardReply(shape=SHAPE, lengths=[5, 5, 5], fingerprint="f00d")
        self.body = join_reply(rest, values=np.linspace(-1, 1, 30, dtype=np.float32))
        self.flipped = bytearray(self.body)
        self.flipped[-1] ^= 1

    def answer(self, id_field):
        """Returns the next reply."""
        self.count += 1
        if self.kind == "plain":
            reply = pb.ForwardReply.FromString(self.body + id_field)
            reply.timing.queue_s = self.count
            return reply.SerializeToString()
        is_flipped = self.kind == "flip" and self.count == self.number
        trailer = reply_trailer(id_field=id_field, queue_s=0.001, compute_s=0.002)
        return (bytes(self.flipped) if is_flipped else self.body) + trailer

    @property
    def is_refusing(self):
        """Returns whether the next request is refused."""
        return self.kind == "fail" and (self.count + 1) % self.number == 0

    async def forward(self, _request, context):
        if self.kind == "mute":
            await asyncio.Event().wait()
        if self.kind == "slow":
            async with self.turn:
                await asyncio.sleep(0.05)
        if self.is_refusing:
            self.count += 1
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return self.answer(b"")

    async def forward_stream(self, requests, _context):
        async for request in requests:
            _, id_field = split_id(request)
            if self.kind == "hush":
                continue
            if self.is_refusing:
                self.count += 1
                name = pb.ForwardReply.FromString(id_field).id
                code = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
                error = pb.RequestError(code=code, message="busy")
                yield pb.ForwardReply(id=name, error=error).SerializeToString()
            else:
                yield self.answer(id_field)

        if self.kind == "hush":
            await asyncio.Event().wait()

    async def info(self, _request, _context):
        return pb.GetServerInfoReply(version="double", fingerprint="f00d").SerializeToString()


async def pause_now_and_then():
    """Blocks the event loop, like a garbage collection or a preempted processor."""
    loop = asyncio.get_running_loop()
    at = loop.time()
    while True:
        at += PERIOD_S
        await asyncio.sleep(at - loop.time())
        time.sleep(PAUSE_S)  # noqa: ASYNC251 - blocks on purpose


async def serve(fault):
    double = Double(fault)
    handlers = {
        "Forward": grpc.unary_unary_rpc_method_handler(double.forward),
        "ForwardStream": grpc.stream_stream_rpc_method_handler(double.forward_stream),
        "GetServerInfo": grpc.unary_unary_rpc_method_handler(double.info),
    }
    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", handlers)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)  # noqa: T201
    if double.kind == "pause":
        await pause_now_and_then()
    await server.wait_for_termination()


@contextmanager
def double_process(fault):
    """Yields the process, whose `target` is its address; kills it at the end."""
    with subprocess.Popen([sys.executable, __file__, fault], stdout=subprocess.PIPE, text=True) as process:
        try:
            process.target = process.stdout.readline().strip()
            yield process
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
