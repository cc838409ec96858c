"""Real text over both clients, a server and none: unknown letters, blanks, long texts, random vectors."""

import warnings

import numpy as np
import pytest
import torch
from unrolled_client import ALPHABETS, Client, DerivedAlphabetWarning, InvalidRequestError

PLAIN = {"hidden_size": 3, "alphabet": "helo"}
ZERO = {"unknown_symbol": "zero", "on_empty": "zero"}


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
        with pytest.raises(InvalidRequestError, match='add it, or ask for unknown_symbol="skip" or "zero"'):
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


@pytest.mark.parametrize("output", ["all", "last", "mean", "max"])
@pytest.mark.parametrize("kind", [{}, {"cell": "lstm", "bidirectional": True, "num_layers": 2}])
def test_words_without_symbols_give_zeros(make_client, server_address, kind, output):
    """Beside other words and alone; the other words have the bits that they have without them."""
    options = {"hidden_size": 4, "alphabet": "abc", "output": output, "return_final_state": True, **kind}
    with make_client(server_address) as client:
        expected = client.forward(["abc", "ca"], **options)
        found = client.forward(["", "abc", "ca", ""], on_empty="zero", **options)
        empty = client.forward(["", ""], on_empty="zero", **options)
    assert found.outputs[1:3].tobytes() == expected.outputs.tobytes()
    assert found.h_n[:, 1:3].tobytes() == expected.h_n.tobytes()
    assert found.lengths.tolist() == [0, 3, 2, 0]
    for zeros in (found.outputs[[0, 3]], found.h_n[:, [0, 3]], empty.outputs, empty.h_n):
        assert not zeros.any()
    assert empty.outputs.shape == (2, *(0,) * (output == "all"), found.outputs.shape[-1])


def test_empty_words_keep_the_initial_state(make_client, server_address):
    with make_client(server_address) as client:
        first = client.forward(["ab", "ba"], hidden_size=3, alphabet="ab", return_final_state=True)
        options = {"hidden_size": 3, "alphabet": "ab", "on_empty": "zero", "return_final_state": True}
        second = client.forward(["", "a"], initial_state=first.state, **options)
        whole = client.forward(["ab", "baa"], hidden_size=3, alphabet="ab", return_final_state=True)
    assert second.h_n.tobytes() == whole.h_n.tobytes()


def test_letters_outside_the_alphabet_are_steps_without_input(make_client, server_address):
    """Torch gives the same states for a row of zeros."""
    torch.manual_seed(5)
    network = torch.nn.RNN(3, 4, batch_first=True)
    with torch.no_grad():
        expected = network(torch.eye(4)[[[0, 3, 2, 3]], :3])[0].numpy()
    with make_client(server_address) as client:
        result = client.forward(["axc\u00e9"], hidden_size=4, seed=5, alphabet="abc", unknown_symbol="zero")
    np.testing.assert_allclose(result.outputs, expected, atol=1e-6)


def test_a_words_random_vector_depends_on_seed_and_word_only(make_client, server_address):
    options = {"hidden_size": 5, "seed": 9, "word_embedding_size": 20, "cell": "gru"}
    with make_client(server_address) as client:
        whole = client.forward(["the cat sat", "caf\u00e9 the", "", "the cat"], on_empty="zero", **options)
        alone = client.forward(["the cat"], **options)
        other = client.forward(["the cat"], **{**options, "seed": 10})
    assert whole.outputs[0, :2].tobytes() == whole.outputs[3, :2].tobytes() == alone.outputs[0].tobytes()
    assert not np.allclose(other.outputs, alone.outputs, atol=0.01)


def test_calls_in_process_have_the_servers_bits(server_address):
    calls = [
        (["xay", "", "ba"], {"alphabet": "ab", **ZERO}),
        (["", ""], {"on_empty": "zero", "output": "max"}),
        (["a b", " ", "c"], {"word_embedding_size": 7, "on_empty": "zero", "cell": "lstm"}),
    ]
    with Client(server_address) as remote, Client.local() as local:
        for words, options in calls:
            found, expected = (client.forward(words, hidden_size=6, **options) for client in (local, remote))
            assert found.outputs.tobytes() == expected.outputs.tobytes()
            assert found.lengths.tolist() == expected.lengths.tolist()


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
