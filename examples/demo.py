"""The lesson, end to end: words go in, hidden states come out, and two readings of one array part.

Starts a server inside this process, asks it through the SDK, and prints what the lesson printed.
"""

import numpy as np
from unrolled_client import Client
from unrolled_server.config import Settings
from unrolled_server.lifecycle import running_server

WORDS = ["hello", "eolll", "lleel"]


def show(array: np.ndarray) -> None:
    """Prints an array as the lesson did: four decimals, one word a line."""
    cell = "[{:7.4f}, {:7.4f}]".format
    rows = [", ".join(cell(*state) for state in word) for word in array]
    print("[" + ",\n ".join(f"[{row}]" for row in rows) + "]\n")


def main() -> None:
    """Runs the lesson's words in both layouts and says where they part."""
    with running_server(Settings(address="127.0.0.1:0")) as server, Client(server.address) as client:
        result = client.forward(WORDS, hidden_size=2, seed=0)
        lesson = client.forward(WORDS, hidden_size=2, seed=0, layout="seq_first")
        device = client.server_info().device

    print(f"Words {WORDS}, hidden size 2, seed 0, alphabet {result.alphabet!r}, computed on {device}.\n")
    print('The lesson\'s listing (layout="seq_first"):')
    show(lesson.outputs)
    print('The default (layout="batch_first"):')
    show(result.outputs)

    word, position = np.argwhere(~np.isclose(lesson.outputs, result.outputs, atol=1e-4).all(axis=-1))[0]
    print(
        f"Both have shape {result.outputs.shape}: (batch, seq, hidden).\n"
        f"They part first at {WORDS[word]!r}, letter {position + 1}.\n"
        "The lesson handed the array to torch.nn.RNN, whose default order is (seq, batch, input): the\n"
        "network ran along the words, so both l's of 'hello' have one state. The default runs along each\n"
        "word's letters, as the lesson's axes say."
    )


if __name__ == "__main__":
    main()
