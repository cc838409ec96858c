"""Real text: letters that the alphabet lacks, blanks, and texts that are too long."""

import warnings

import numpy as np
import pytest
from unrolled_client import ALPHABETS, Client, DerivedAlphabetWarning, InvalidRequestError

PLAIN = {"hidden_size": 3, "alphabet": "helo"}


def outcomes(client, texts, **options):
    """The outputs of the texts by each call that takes words."""
    network = {key: value for key, value in options.items() if key != "hidden_size"}
    return [
        client.forward(texts, **options).outputs,
        next(iter(client.map([texts], **options))).result.outputs,
        next(iter(client.sweep(texts, hidden_sizes=[3], seeds=[0], **network))).outputs,
    ]


def test_letters_that_the_alphabet_lacks_are_left_out(make_client, server_address):
    """Every call, and a session, computes what the text without them gives."""
    with make_client(server_address) as client:
        expected = client.forward(["hello", "oh"], **PLAIN).outputs
        for outputs in outcomes(client, ["he-llo!", "Joh\n"], unknown_symbol="skip", **PLAIN):
            np.testing.assert_array_equal(outputs, expected)
        session = client.session(unknown_symbol="skip", **PLAIN)
        session.feed(["h-e", "?o"])
        fed = session.feed(["l.lo", "h"])
        np.testing.assert_array_equal(fed.outputs[0], expected[0, 2:])


def test_a_result_has_the_words_that_were_computed(make_client, server_address):
    """Without the letters that were left out; lengths fit them."""
    with make_client(server_address) as client:
        result = client.forward(["he-llo", "x"], unknown_symbol="skip", on_empty="zero", **PLAIN)
    assert result.words == ("hello", "")
    assert result.lengths.tolist() == [5, 0]


def test_an_unknown_letter_is_an_error_that_names_the_remedy(make_client, server_address):
    """By default nothing is left out in silence."""
    with make_client(server_address) as client:
        with pytest.raises(InvalidRequestError, match=r"words\[0\] has 'x' at position 1.*unknown_symbol="):
            client.forward(["hxo"], **PLAIN)
        with pytest.raises(InvalidRequestError, match='on_empty="zero"'):
            client.forward(["h", ""], **PLAIN)


@pytest.mark.parametrize("output", ["all", "max"])
def test_a_call_may_have_empty_words_only(make_client, server_address, output):
    """The result has no position, or a zero vector for each word."""
    with make_client(server_address) as client:
        for outputs in outcomes(client, ["", ""], on_empty="zero", output=output, **PLAIN):
            assert outputs.shape == ((2, 0, 3) if output == "all" else (2, 3))
            assert not outputs.any()


def test_a_large_call_has_empty_words_too(make_client, server_address):
    """A call in parts."""
    words = ["", *(["hello"] * 9 + [""]) * 500]
    options = {"hidden_size": 64, "alphabet": "helo", "on_empty": "zero"}
    with make_client(server_address) as client:
        result = client.forward(words, **options)
        expected = client.forward(["hello"], hidden_size=64, alphabet="helo").outputs[0]
    is_empty = np.array(words) == ""
    assert not result.outputs[is_empty].any()
    assert (result.outputs[~is_empty] == expected).all()


def test_texts_that_are_too_long_are_cut_on_request(make_client, server_address):
    """At the server's limit, in every call; without `truncate` they are an error, in a session always."""
    with make_client(server_address) as client:
        longest = client.server_info().limits.max_word_length
        texts = ["h" * longest + "e" * 5, "hello"]
        for outputs in outcomes(client, texts, truncate=True, output="last", **PLAIN):
            expected = client.forward([texts[0][:longest], "hello"], output="last", **PLAIN).outputs
            np.testing.assert_array_equal(outputs, expected)
        with pytest.raises(InvalidRequestError, match="shorten or split it"):
            client.forward(texts, output="last", **PLAIN)
        with pytest.raises(InvalidRequestError, match="truncate is True; a session feeds texts of any len"):
            client.session(truncate=True, **PLAIN)


def test_sentences_are_cut_after_words(make_client, server_address):
    """The limit counts symbols, which are words."""
    with make_client(server_address) as client:
        longest = client.server_info().limits.max_word_length
        options = {"hidden_size": 2, "word_embedding_size": 3, "output": "last"}
        result = client.forward(["a  b " * longest, "b a"], truncate=True, **options)
    assert result.lengths.tolist() == [longest, 2]


def test_alphabets_have_names(make_client, server_address):
    """A name stands for its letters, which the result has."""
    with make_client(server_address) as client:
        named = client.forward(["hello"], hidden_size=2, alphabet="lowercase")
        spelled = client.forward(["hello"], hidden_size=2, alphabet=ALPHABETS["lowercase"])
    assert named.alphabet == ALPHABETS["lowercase"]
    np.testing.assert_array_equal(named.outputs, spelled.outputs)


@pytest.mark.filterwarnings("default:this call derived")
def test_a_second_derived_alphabet_is_a_warning_once(make_client, server_address):
    """Its results come from another network. Given alphabets and equal ones are fine."""
    with make_client(server_address) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client.forward(["hello"], hidden_size=2)
            client.forward(["ohel", "hello"], hidden_size=2, alphabet="ohel")
            client.forward(["helo"], hidden_size=2)
        with pytest.warns(DerivedAlphabetWarning, match="derived the alphabet 'word', an earlier one 'helo'"):
            client.forward(["word"], hidden_size=2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            next(iter(client.sweep(["other"], hidden_sizes=[2], seeds=[0])))


def test_the_final_state_of_an_empty_word_must_be_asked_for(make_client, server_address):
    """It is not among the outputs."""
    with make_client(server_address) as client:
        result = client.forward(["", "h"], on_empty="zero", **PLAIN)
    with pytest.raises(ValueError, match="return_final_state=True"):
        _ = result.h_n


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.forward(["word"], hidden_size=2),
        lambda client: next(iter(client.sweep(["word"], hidden_sizes=[2], seeds=[0]))),
    ],
)
def test_the_warning_names_the_line_of_the_call(server_address, call):
    """Python shows a warning once for each line."""
    with Client(server_address) as client:
        client.forward(["hello"], hidden_size=2)
        with pytest.warns(DerivedAlphabetWarning) as caught:
            call(client)
    assert caught[0].filename == __file__
