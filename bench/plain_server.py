"""A server to compare with, as users write it in an hour: it keeps its module and replies with bytes."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import torch
from baselines import OneHot
from unrolled.v1 import forward_pb2 as pb
from workloads import LETTERS

torch.set_num_threads(1)  # faster than several, as the requests have threads
torch.manual_seed(0)
ONE_HOT = OneHot(LETTERS)
MODULE = torch.nn.RNN(len(LETTERS), 256, batch_first=True)


def forward(request: pb.ForwardRequest, _context: grpc.ServicerContext) -> bytes:
    """Returns all states of the request's words."""
    with torch.inference_mode():
        return MODULE(torch.from_numpy(ONE_HOT(request.words)))[0].numpy().tobytes()


if __name__ == "__main__":
    handler = grpc.unary_unary_rpc_method_handler(forward, pb.ForwardRequest.FromString)
    service = grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", {"Forward": handler})
    server = grpc.server(ThreadPoolExecutor(max_workers=10), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(f"127.0.0.1:{port}", flush=True)
    server.wait_for_termination()
