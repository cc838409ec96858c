"""The command `unrolled`: the SDK in a terminal and in shell scripts."""

import os

# gRPC reads it when it is imported. Else it logs each attempt to connect, beside the command's own error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from unrolled_client.cli.app import app, main

__all__ = ["app", "main"]
