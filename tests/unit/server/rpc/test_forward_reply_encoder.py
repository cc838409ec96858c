"""Replies of every form, joined or written in place, compared with the engine's answers."""

import numpy as np
import pytest
from unrolled.v1.wire import encode_id, find_trailer, split_reply
from unrolled_server.engine import Alphabet, Engine, Job, Layout, NetworkSpec, ReplyForm
from unrolled_server.engine.spec import Cell
from unrolled_server.rpc.pipeline import ForwardReplyEncoder

WORDS = {
    "small": ["ab", "ba"],
    "large": ["ab" * 20, "ba" * 20] * 20,
    "padded": ["ab" * 100, *["a"] * 99],
}
ID = encode_id("a")


@pytest.fixture(scope="module")
def engine():
    return Engine(device="cpu")


def reply_and_answer(engine, **options):
    """Returns a reply, and a copy of the answer."""
    network = NetworkSpec(symbol_count=2, hidden_size=32, seed=0, cell=Cell.LSTM)
    words = Alphabet.of("ab").encode(WORDS[options.pop("size")])
    job = Job(network=network, words=words, **options)
    pending = ForwardReplyEncoder(fingerprint="f").start(job, id_field=ID)
    assert (job.new_values is None) == (words.max_length == 2)  # the large ones are written in place
    answer = engine.run_one(job)
    assert not isinstance(answer, Exception), answer
    data = pending.finish(answer, queue_s=1.0, compute_s=2.0)
    plain = engine.run_one(Job(network=network, words=words, **options))
    return data, plain


@pytest.mark.parametrize(
    ("size", "layout"),
    [(size, layout) for size in WORDS for layout in Layout if (size, layout) != ("padded", Layout.SEQ_FIRST)],
)
@pytest.mark.parametrize("form", ReplyForm)
@pytest.mark.parametrize("has_state", [False, True])
def test_a_reply_has_the_answer(engine, size, layout, form, has_state):
    data, answer = reply_and_answer(engine, size=size, layout=layout, form=form, return_final_state=has_state)
    reply = split_reply(data)
    assert reply.values.tobytes() == answer.values.tobytes()
    assert reply.index.tobytes() == (b"" if answer.index is None else answer.index.tobytes())
    assert tuple(reply.rest.shape) == answer.shape
    assert (reply.rest.id, reply.rest.fingerprint) == ("a", "f")
    assert find_trailer(data, ID)[1:] == (1.0, 2.0)
    assert reply.rest.HasField("final_state") == has_state
    if has_state:
        state = reply.rest.final_state
        assert np.array(state.h, np.float32).tobytes() == answer.final_state.h.tobytes()
        assert np.array(state.c, np.float32).tobytes() == answer.final_state.c.tobytes()
