"""The command `unrolled`: the SDK for people at a terminal and for scripts in a shell.

Exit codes: 0 done, 1 the request or the server failed, 2 the command line is wrong. `unrolled load` has some
of its own, which its help tells. Results go to standard output, everything else to standard error.
"""

import os

# gRPC's core reads it when it is loaded. It would write a line of its own for each attempt to connect, beside
# the one that says what to do.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from unrolled_client.cli.app import app, main

__all__ = ["app", "main"]
