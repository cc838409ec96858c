"""Serves, calls and probes in one process; prints as JSON the loaded modules of folders named `tests`."""

import contextlib
import json
import os
import sys

from unrolled_client import Client
from unrolled_server import probe
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

NETWORKS = [
    {"cell": "rnn", "hidden_size": 2, "num_layers": 2},
    {"cell": "lstm", "hidden_size": 4, "proj_size": 2, "bidirectional": True},
    {"cell": "gru", "hidden_size": 2, "embedding_size": 3},
    {"cell": "rnn", "hidden_size": 300, "spectral_radius": 0.9},
]

with running_server(Settings(address="127.0.0.1:0")) as server:
    with Client(server.address) as client:
        for network in NETWORKS:
            client.forward(["hello"], **network)
    os.environ["UNROLLED_ADDRESS"] = server.address
    with contextlib.redirect_stdout(sys.stderr):
        status = probe.main()

loaded = sorted(name for name in sys.modules if "tests" in name.split("."))
json.dump({"probe": status, "loaded": loaded}, sys.stdout)
