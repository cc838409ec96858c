"""Runs the lesson's words through a server in both layouts and compares the arrays with torch.nn.RNN.

Starts the server inside this process and calls it through the SDK.
"""

import sys

import numpy as np
import torch
from unrolled_client import Client
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

WORDS = ["hello", "eolll", "lleel"]
TOLERANCE = 1e-6


def show(array: np.ndarray) -> None:
    """Prints an array as the lesson did: four decimals, one word a line."""
    cell = "[{:7.4f}, {:7.4f}]".format
    rows = [", ".join(cell(*state) for state in word) for word in array]
    print("[" + ",\n ".join(f"[{row}]" for row in rows) + "]\n")


def by_torch(alphabet: str, *, batch_first: bool) -> np.ndarray:
    """Returns the states that torch computes in this process, (batch, seq, hidden)."""
    symbols = torch.tensor([[alphabet.index(letter) for letter in word] for word in WORDS])
    torch.manual_seed(0)
    states, _ = torch.nn.RNN(len(alphabet), 2, batch_first=batch_first)(torch.eye(len(alphabet))[symbols])
    return states.detach().numpy()


def main() -> int:
    """Runs the lesson's words in both layouts; returns 1 if torch disagrees, else 0."""
    print("Starting a server in this process ...\n")
    with running_server(Settings(address="127.0.0.1:0")) as server, Client(server.address) as client:
        result = client.forward(WORDS, hidden_size=2, seed=0)
        lesson = client.forward(WORDS, hidden_size=2, seed=0, layout="seq_first")
        device = client.server_info().device

    print(f"Words {WORDS}, hidden size 2, seed 0, alphabet {result.alphabet!r}, computed on {device}.\n")
    print('The lesson\'s listing (layout="seq_first"):')
    show(lesson.outputs)
    print('The default (layout="batch_first"):')
    show(result.outputs)

    differences = [
        np.abs(result.outputs - by_torch(result.alphabet, batch_first=True)).max(),
        np.abs(lesson.outputs - by_torch(result.alphabet, batch_first=False)).max(),
    ]
    is_equal = max(differences) <= TOLERANCE
    print(
        f"Both {'are equal to' if is_equal else 'DIFFER from'} torch.nn.RNN in this process: "
        f"largest difference {max(differences):.1e}, tolerance {TOLERANCE:g}.\n"
    )

    word, position = np.argwhere(~np.isclose(lesson.outputs, result.outputs, atol=1e-4).all(axis=-1))[0]
    print(
        f"Both have shape {result.outputs.shape}: (batch, seq, hidden).\n"
        f"They differ first at {WORDS[word]!r}, letter {position + 1}.\n"
        "The lesson passed the array to torch.nn.RNN, whose default order is (seq, batch, input): the\n"
        "network ran along the words, so both l's of 'hello' have one state. The default runs along each\n"
        "word's letters, as the lesson's axes say."
    )
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
