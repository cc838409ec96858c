"""The command `unrolled-map`: every text of a corpus to its states or its vector, through Ray Data.

A room of its own because it serves nobody: it has the engine in common with the server and nothing else. What
imports torch, Ray or pyarrow is imported late, so that `--help` and a wrong option answer at once.
"""
