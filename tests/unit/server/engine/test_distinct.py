"""The distinct form equals the dense one; its numbering depends on the request alone."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unrolled_server.engine import (
    Alphabet,
    AnswerTooLargeError,
    Engine,
    Job,
    Layout,
    NetworkSpec,
    ReplyForm,
)
from unrolled_server.engine import engine as engine_module

lists_of_words = st.lists(st.text("abc", min_size=1, max_size=9), min_size=1, max_size=20)
words_of_one_length = st.integers(1, 6).flatmap(
    lambda size: st.lists(st.text("abc", min_size=size, max_size=size), min_size=1, max_size=9)
)


def make_job(words, form, *, hidden_size=5, layout=Layout.BATCH_FIRST, **options) -> Job:
    spec = NetworkSpec(symbol_count=3, hidden_size=hidden_size, seed=0)
    return Job(network=spec, words=Alphabet.of("abc").encode(words), layout=layout, form=form, **options)


def ask(engine, *job_of, **options):
    (answer,) = engine.run([make_job(*job_of, **options)])
    if isinstance(answer, Exception):
        raise answer
    return answer.values.tobytes(), answer.index, answer.shape


def check_equal(words, layout, *, distinct_engine, hidden_size=5):
    """Compares both forms; the engine of the dense one has memory for everything."""
    dense, _, shape = ask(
        Engine(device="cpu"), words, ReplyForm.DENSE, layout=layout, hidden_size=hidden_size
    )
    values, index, same_shape = ask(
        distinct_engine, words, ReplyForm.DISTINCT, layout=layout, hidden_size=hidden_size
    )
    rows = np.frombuffer(values, np.float32).reshape(-1, hidden_size)
    assert same_shape == shape
    assert not rows[0].any()
    assert rows[index].tobytes() == dense
    appeared = list(dict.fromkeys(index.ravel()[index.ravel() != 0].tolist()))
    assert appeared == list(range(1, len(rows)))
    return values, index.tobytes()


@given(lists_of_words)
def test_the_distinct_form_equals_the_dense_one_bit_for_bit(words):
    check_equal(words, Layout.BATCH_FIRST, distinct_engine=Engine(device="cpu"))


@given(words_of_one_length)
def test_the_forms_are_equal_in_torchs_default_layout(words):
    check_equal(words, Layout.SEQ_FIRST, distinct_engine=Engine(device="cpu"))


@pytest.mark.parametrize("layout", list(Layout))
def test_slices_change_no_bit_of_values_and_index(layout):
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abc"), 40)) for _ in range(40)]
    roomy = check_equal(words, layout, distinct_engine=Engine(device="cpu"), hidden_size=64)
    tiny = Engine(device="cpu", state_memory_bytes=1)
    assert check_equal(words, layout, distinct_engine=tiny, hidden_size=64) == roomy


@given(lists_of_words, lists_of_words)
def test_earlier_requests_change_no_index(before, words):
    engine = Engine(device="cpu")
    ask(engine, before, ReplyForm.DENSE)
    values, index, _ = ask(engine, words, ReplyForm.DISTINCT)
    fresh_values, fresh_index, _ = ask(Engine(device="cpu"), words, ReplyForm.DISTINCT)
    assert (values, index.tobytes()) == (fresh_values, fresh_index.tobytes())


@given(lists_of_words)
def test_the_size_limit_applies_to_the_bytes_that_are_sent(words):
    engine = Engine(device="cpu")
    values, index, _ = ask(engine, words, ReplyForm.DISTINCT)
    size = len(values) + index.nbytes
    exact = make_job(words, ReplyForm.DISTINCT, max_reply_bytes=size)
    assert exact.reply_bytes <= size
    (allowed,) = engine.run([exact])
    assert allowed.values.tobytes() == values
    (refused,) = engine.run([make_job(words, ReplyForm.DISTINCT, max_reply_bytes=size - 1)])
    assert isinstance(refused, AnswerTooLargeError)


def test_a_reply_above_the_limit_is_refused_before_it_is_built():
    engine = Engine(device="cpu")
    jobs = [make_job(["abc" * 5, "cba" * 5], ReplyForm.DISTINCT, max_reply_bytes=400) for _ in range(2)]
    assert [str(error)[:41] for error in engine.run(jobs)] == [
        "the reply would have more than 13 distinct"[:41]
    ] * 2
    assert "send fewer words" in str(next(engine.run(jobs)))


def test_the_docstring_examples_run():
    assert doctest.testmod(engine_module).failed == 0
