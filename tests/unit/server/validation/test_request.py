"""Validation of requests: every rule, with the field and the message of its error."""

import tracemalloc

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.engine import Layout
from unrolled_server.errors import InvalidRequestError, RequestError
from unrolled_server.settings import Settings
from unrolled_server.validation.parsing import request_id
from unrolled_server.validation.request import RequestValidator

LIMITS = Settings(
    max_words=4, max_word_length=6, max_hidden_size=8, max_alphabet_size=10, max_reply_bytes=320
).limits()
VALIDATOR = RequestValidator(LIMITS)


def refusal(request):
    data = request if isinstance(request, bytes) else request.SerializeToString()
    with pytest.raises(InvalidRequestError) as caught:
        VALIDATOR.validate(data)
    return caught.value.violations


def a_request(**changes):
    return pb.ForwardRequest(**{"words": ["ab", "b"], "hidden_size": 2, **changes})


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        ({"words": []}, "words", "send at least one word"),
        ({"words": ["a", ""]}, "words[1]", "words[1] is empty"),
        ({"words": ["a"] * 5}, "words", "5 entries; this server allows 4; send several requests"),
        ({"words": ["a", "abcabca"]}, "words[1]", "7 symbols; this server allows 6; shorten or split it, or"),
        ({"words": ["ab", "axb"], "alphabet": "ab"}, "words[1]", "'x' at position 1"),
        ({"alphabet": "abca"}, "alphabet", "alphabet has 'a' more than once"),
        ({"alphabet": "abcdefghijk"}, "alphabet", "11 symbols; this server allows 10"),
        ({"words": ["abcdef", "ghijkl"]}, "alphabet", "12 symbols; this server allows 10"),
        ({"hidden_size": 0}, "hidden_size", "hidden_size is 0; this server allows 1 to 8"),
        ({"hidden_size": -1}, "hidden_size", "hidden_size is -1; this server allows 1 to 8"),
        ({"hidden_size": 9}, "hidden_size", "hidden_size is 9; this server allows 1 to 8"),
        ({"words": ["abc"] * 4, "hidden_size": 7}, "words", "336 bytes; this server sends up to 320"),
        ({"layout": pb.LAYOUT_SEQ_FIRST}, "layout", "1 to 2 symbols"),
        ({"id": "x" * 129}, "id", "129 bytes; the limit is 128"),
    ],
)
def test_an_error_has_value_limit_and_remedy(changes, field, says):
    (violation,) = refusal(a_request(**changes))
    assert violation.field == field
    assert says in violation.description


def test_all_violations_are_reported_at_once():
    fields = [violation.field for violation in refusal(a_request(words=[""], hidden_size=0, alphabet="aa"))]
    assert fields == ["hidden_size", "words[0]", "alphabet"]


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"\x0a\x01a\x0a\x02\xff\xfe\x10\x02", "words[1]"),
        (b"\x0a\x01a\x10\x02\x22\x01\xc0", "alphabet"),
        (b"\x0a\x01a\x10\x02\x5a\x01\x80", "id"),
        (b"\x0a\x05a", ""),
        (b"\xff\xff\xff", ""),
        (b"\x0a\x01a\x2a\x02\x08\xff", ""),
    ],
)
def test_malformed_requests_are_an_invalid_argument_that_names_the_field(data, field):
    (violation,) = refusal(data)
    assert violation.field == field
    assert violation.description


def test_a_valid_request_becomes_a_job():
    accepted = VALIDATOR.validate(
        a_request(alphabet="cba", seed=-(2**63), layout=pb.LAYOUT_BATCH_FIRST, id="7").SerializeToString()
    )
    assert accepted.id == "7"
    assert accepted.job.network.symbol_count == 3
    assert accepted.job.network.hidden_size == 2
    assert accepted.job.layout is Layout.BATCH_FIRST


def test_the_default_alphabet_is_the_letters_by_first_appearance():
    derived = VALIDATOR.validate(a_request(words=["hello", "eolll"]).SerializeToString())
    given = VALIDATOR.validate(a_request(words=["hello", "eolll"], alphabet="helo").SerializeToString())
    assert derived.job.network == given.job.network
    assert (
        derived.job.words.codes.tolist() == given.job.words.codes.tolist() == [0, 1, 2, 2, 3, 1, 3, 2, 2, 2]
    )


def test_a_distinct_reply_that_no_words_could_make_small_enough_is_refused():
    distinct = {"reply_form": pb.REPLY_FORM_DISTINCT, "return_final_state": True}
    distinct["network"] = pb.Network(cell=pb.CELL_LSTM)
    request = a_request(words=["abcdef"] * 3, hidden_size=8, **distinct)  # 4 * (18 + 2 * 8 + 3 * 16) bytes
    (violation,) = refusal(request)
    assert violation.field == "words"
    assert "at least 2 x 8 float32 values and an index of 3 x 6 and the final state" in violation.description
    assert VALIDATOR.validate(a_request(words=["abcdef"] * 2, hidden_size=8, **distinct).SerializeToString())


def test_limits_are_inclusive():
    exact = a_request(words=["abcdef"] * 2, hidden_size=6, id="x" * 128)  # 2 x 6 x 6 x 4 = 288 bytes
    assert VALIDATOR.validate(exact.SerializeToString()).id == "x" * 128
    assert VALIDATOR.validate(a_request(words=["ab"] * 4, hidden_size=8).SerializeToString())


@pytest.mark.parametrize("words", [["한국어", "국어"], ["🙂🙃", "🙂"], ["e\u0301", "é"]])
def test_a_symbol_is_one_code_point_without_normalization(words):
    accepted = VALIDATOR.validate(a_request(words=words, hidden_size=1).SerializeToString())
    assert accepted.job.words.lengths.tolist() == [len(word) for word in words]
    assert accepted.job.network.symbol_count == len(set("".join(words)))


ONE_MIB = 1 << 20
VALID = pb.ForwardRequest(words=["ab"], hidden_size=2).SerializeToString()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(VALID + b"\x80\x7d\x00" * (ONE_MIB // 3), id="unknown fields"),
        pytest.param(
            VALID
            + pb.ForwardRequest(network=pb.Network()).SerializeToString()[:-1]
            + b"\x80\x80\x40"
            + b"\x78\x00" * (ONE_MIB // 2),
            id="unknown fields inside",
        ),
        pytest.param(b"\x0a\x00" * (ONE_MIB // 2) + VALID, id="words without letters"),
        pytest.param(b"\x0a\x02ab" * (ONE_MIB // 4) + VALID, id="words"),
        pytest.param(b"\x0a\x00" * (ONE_MIB // 2) + b"\x22\x01\xff" + VALID, id="no UTF-8"),
        pytest.param(
            a_request(initial_state=pb.State(h_shape=[1] * ONE_MIB)).SerializeToString(), id="axes of a state"
        ),
    ],
)
def test_a_refused_message_costs_no_object_per_field(data):
    """A message of 32 MiB may have 16 million fields."""
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            VALIDATOR.validate(data)
        request_id(data)
        assert tracemalloc.get_traced_memory()[1] < 3 * ONE_MIB
    finally:
        tracemalloc.stop()
