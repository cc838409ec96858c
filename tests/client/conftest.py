"""A server whose every answer the test chooses: for what a right server never does."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest


@pytest.fixture
def serve():
    """A function that starts a server whose calls go to `answer(data, context)`, and gives HOST:PORT."""
    servers = []

    def start(answer):
        method = grpc.unary_unary_rpc_method_handler(answer)
        methods = {"Forward": method, "GetServerInfo": method}
        server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", -1)])
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", methods),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(grace=None).wait()
