"""A call in process that takes minutes, and how a test notices that it is being computed."""

import random
import threading

LETTERS = "abcdefghijklmnopqrstuvwxyz"
# No two words share much, and the memory for states makes the engine compute them in parts.
WORDS = ["".join(random.Random(seed).choices(LETTERS, k=1_000)) for seed in range(200)]
NETWORK = {"hidden_size": 1_024, "cell": "lstm", "output": "last", "alphabet": LETTERS}
SETTINGS = {"state_memory_mb": 64, "compute_threads": 1}


def computing(client):
    """Returns an event that is set when the engine of a client of `local` computes its next request."""
    engine, event = client._in_process._service._engine, threading.Event()
    run_one = engine.run_one

    def run(*arguments):
        event.set()
        return run_one(*arguments)

    engine.run_one = run
    return event
