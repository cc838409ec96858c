"""A client with only the .proto file and public Node packages gets the same numbers."""

import json
import shutil
import subprocess
from pathlib import Path

import grpc
import numpy as np
import pytest
import unrolled.v1
from unrolled.v1.forward_pb2 import ForwardRequest
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub

HERE = Path(__file__).parent
PROTO_FILE = Path(unrolled.v1.__file__).with_name("forward.proto")
WORDS = ["hello", "eolll", "lleel"]

# The lesson's listing.
SEQ_FIRST = [
    [[-0.7497, -0.6135], [-0.5282, -0.2473], [-0.9136, -0.4269], [-0.9136, -0.4269], [-0.9028, 0.1180]],
    [[-0.5753, -0.0070], [-0.9052, 0.2597], [-0.9173, -0.1989], [-0.9173, -0.1989], [-0.8996, -0.2725]],
    [[-0.9077, -0.3205], [-0.8944, -0.2902], [-0.5134, -0.0288], [-0.5134, -0.0288], [-0.9127, -0.2222]],
]
HELLO_BATCH_FIRST = [
    [-0.7497, -0.6135],
    [-0.5753, -0.0070],
    [-0.9077, -0.3205],
    [-0.9141, -0.2142],
    [-0.8996, 0.3307],
]

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not (shutil.which("node") and shutil.which("npm")), reason="Node.js is missing: node and npm"
    ),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The folder of the Node programs, with their packages installed."""
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "client.mjs", "stream.mjs"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(command, cwd=folder, check=True, timeout=200)
    return folder


@pytest.fixture
def forward(program, server_address):
    """A function that sends a request from Node and returns what it printed."""

    def send(**request):
        command = ["node", program / "client.mjs", server_address, PROTO_FILE, json.dumps(request)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    return send


@pytest.fixture
def stream(program, server_address):
    """A function that sends requests over one stream from Node and returns the printed replies by id."""

    def send(requests):
        command = ["node", program / "stream.mjs", server_address, PROTO_FILE, json.dumps(requests)]
        return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)

    return send


def printed(reply):
    """Returns the reply's array, rounded to the four digits of the listing."""
    return np.reshape(reply["values"], reply["shape"]).round(4).tolist()


def test_node_gets_the_lessons_listing(forward):
    """With seq_first, Node gets the lesson's listing to its last digit."""
    reply = forward(words=WORDS, hidden_size=2, seed=0, layout="LAYOUT_SEQ_FIRST")

    assert printed(reply) == SEQ_FIRST


@pytest.mark.parametrize("id_length", range(4))
def test_node_gets_each_word_alone_by_default(forward, id_length):
    """The axes are (batch, seq, hidden), and the array is readable at every alignment in the message."""
    reply = forward(words=WORDS, hidden_size=2, seed=0, id="a" * id_length)

    assert reply["shape"] == [3, 5, 2]
    assert reply["lengths"] == [5, 5, 5]
    assert printed(reply)[0] == HELLO_BATCH_FIRST


def test_node_sends_seeds_of_64_bits(forward, channel):
    """A seed that no JavaScript number can represent arrives unchanged."""
    seed = -(2**53) - 1
    same = ForwardServiceStub(channel).Forward(ForwardRequest(words=WORDS, hidden_size=2, seed=seed))

    reply = forward(words=WORDS, hidden_size=2, seed=str(seed))

    assert reply["values"] == list(same.values)


def test_node_gets_the_reason_of_a_refusal(forward):
    """A bad request is INVALID_ARGUMENT with a message that names the field and its value."""
    refusal = forward(words=WORDS, hidden_size=-1)

    assert refusal["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "hidden_size" in refusal["message"]
    assert "-1" in refusal["message"]


def test_node_streams_a_hundred_requests_and_the_bad_one_alone_fails(stream):
    """Replies are matched by id; an error comes in-band with its code, message and details."""
    requests = [
        {"id": str(at), "words": WORDS[: at % 3 + 1], "hidden_size": 2, "seed": 0} for at in range(100)
    ]
    requests[41]["hidden_size"] = -1

    replies = stream(requests)

    error = replies.pop("41")["error"]
    assert error["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "hidden_size is -1" in error["message"]
    assert error["details"][0]["type_url"] == "type.googleapis.com/google.rpc.BadRequest"
    assert sorted(replies, key=int) == [str(at) for at in range(100) if at != 41]
    assert all(replies[name]["shape"] == [int(name) % 3 + 1, 5, 2] for name in replies)
    assert all(printed(replies[name])[0] == HELLO_BATCH_FIRST for name in replies if int(name) % 3 == 2)


def test_node_rebuilds_the_dense_array_of_the_distinct_form(forward):
    """Each number of the index selects a row of `hidden` values."""
    dense = forward(words=WORDS, hidden_size=2, seed=0, id="d")
    reply = forward(words=WORDS, hidden_size=2, seed=0, reply_form="REPLY_FORM_DISTINCT")

    rows = np.reshape(reply["values"], (-1, 2))
    assert rows[0].tolist() == [0, 0]
    assert rows[reply["index"]].ravel().tolist() == dense["values"]
    assert reply["shape"] == dense["shape"]
