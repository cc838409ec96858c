"""RecurrentVectorizer: its vectors, the texts that it takes, and its errors."""

import inspect

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from unrolled_client import ALPHABETS, Client, InvalidRequestError, NetworkOptions, tokenize
from unrolled_client.sklearn import RecurrentVectorizer

from tests.integration.client.test_progress import on_terminal

TEXTS = ["a quiet film", "It didn't work!", "", "  ", "naïve 日本語", "long " * 500]


def vectorizer(**changes):
    return RecurrentVectorizer(**{"hidden_size": 8, **changes})


@pytest.fixture
def client():
    with Client.local() as client:
        yield client


@pytest.fixture(params=["in process", "server"])
def target(request, server_address):
    """A parameter for each of the two ways to compute."""
    return None if request.param == "in process" else server_address


# Vectors


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cell": "lstm", "bidirectional": True, "output": "mean", "seed": 7},
        {"cell": "gru", "num_layers": 2, "embedding_size": 3, "output": "last", "alphabet": "ascii"},
        {"nonlinearity": "relu", "spectral_radius": 0.9, "bias": False},
        {"leak_rate": 0.3, "input_scaling": 0.5, "density": 0.5},
        {"cell": "lstm", "proj_size": 2, "unknown_symbol": "skip"},
        {"word_embedding_size": 4},
    ],
)
def test_vectors_are_those_of_forward(client, target, options):
    made = vectorizer(target=target, **options).fit_transform(TEXTS)
    letters = {"alphabet": "".join(sorted(set("".join(TEXTS)))), "unknown_symbol": "zero"}
    words = options.get("word_embedding_size")
    policies = {"on_empty": "zero", "truncate": True, "output": "max"}
    asked = policies | ({} if words else letters) | options
    texts = map(tokenize, TEXTS) if words else TEXTS
    assert made.dtype == np.float32
    assert np.array_equal(made, client.forward(texts, hidden_size=8, **asked).outputs)


def test_every_option_of_a_network_is_a_parameter():
    parameters = set(inspect.signature(RecurrentVectorizer).parameters)
    assert set(NetworkOptions.__annotations__) - {"return_final_state"} <= parameters


@pytest.mark.parametrize("unknown_symbol", ["zero", "skip"])
def test_texts_of_any_kind_pass(target, unknown_symbol):
    fitted = vectorizer(target=target, unknown_symbol=unknown_symbol).fit(["abc"])
    made = fitted.transform(["cab", "", " ", "xyz", "ab" * 5_000])
    assert made.shape == (5, 8)
    assert np.isfinite(made).all()
    assert not made[1].any()
    assert made[4].any()


@pytest.mark.parametrize(
    ("parameters", "texts"),
    [
        ({"unknown_symbol": "error"}, ["abx"]),
        ({"on_empty": "error"}, [""]),
        ({"truncate": False}, ["a" * 5_000]),
    ],
)
def test_each_policy_can_be_strict(target, parameters, texts):
    fitted = vectorizer(target=target, **parameters).fit(["abc"])
    with pytest.raises(InvalidRequestError, match=r"words\[0\]|longest"):
        fitted.transform(texts)


def test_the_alphabet_does_not_depend_on_the_order_of_the_texts():
    one, other = vectorizer().fit(["ba", "cab"]), vectorizer().fit(["cab", "ba"])
    assert one.alphabet_ == other.alphabet_ == "abc"
    assert np.array_equal(one.transform(["abc"]), other.transform(["abc"]))


def test_an_alphabet_may_be_given_or_named():
    assert vectorizer(alphabet="cba").fit(["a"]).alphabet_ == "cba"
    assert vectorizer(alphabet="ascii").fit(["a"]).alphabet_ == ALPHABETS["ascii"]
    assert vectorizer(word_embedding_size=2).fit(["a"]).alphabet_ == ""


def test_a_tokenizer_returns_a_text_or_a_list():
    words = vectorizer(word_embedding_size=3)
    assert np.array_equal(words.fit_transform(["It didn't"]), words.fit_transform(["it did n't"]))
    split = vectorizer(word_embedding_size=3, tokenizer=str.split)
    assert not np.array_equal(split.fit_transform(["It didn't"]), words.fit_transform(["It didn't"]))
    lower = vectorizer(tokenizer=str.lower).fit(["Ab"])
    assert lower.alphabet_ == "ab"
    assert np.array_equal(lower.transform(["AB"]), lower.transform(["ab"]))


def test_a_large_call_shows_its_progress(monkeypatch):
    terminal = on_terminal(monkeypatch)
    texts = [f"{number:04d}" for number in range(6_000)]
    assert vectorizer(hidden_size=2, progress=True).fit_transform(texts).shape == (6_000, 2)
    assert "6000/6000" in terminal.getvalue()


# Columns


@pytest.mark.parametrize(
    "as_column",
    [
        tuple,
        iter,
        np.array,
        pd.Series,
        lambda texts: np.array(texts, dtype=object),
        lambda texts: np.array(texts)[:, np.newaxis],
        lambda texts: pd.Series(texts, dtype="category", index=range(5, 5 + len(texts))),
        lambda texts: pd.DataFrame({"text": texts}),
    ],
)
def test_any_column_of_texts_is_accepted(as_column):
    made = vectorizer().fit_transform(as_column(TEXTS))
    assert np.array_equal(made, vectorizer().fit_transform(TEXTS))


@pytest.mark.long
def test_columns_and_tables_of_arrow_are_accepted():
    arrow = pytest.importorskip("pyarrow")
    expected = vectorizer().fit_transform(TEXTS)
    for column in (arrow.array(TEXTS), arrow.table({"text": TEXTS})):
        assert np.array_equal(vectorizer().fit_transform(column), expected)


@pytest.mark.parametrize(
    ("texts", "error", "says"),
    [
        ("one text", ValueError, r"^Iterable over raw text documents expected, string object received\.$"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), ValueError, "^X has 2 columns; .* ColumnTransformer"),
        (np.array([["x", "y"]]), ValueError, "^X has 2 columns"),
        (["a", None], TypeError, r"^X\[1\] is missing \(None\); .* put a word in their place"),
        (pd.Series(["a", "b", np.nan]), TypeError, r"^X\[2\] is missing \(nan\)"),
        (pd.DataFrame({"a": ["x", pd.NA]}, dtype="string"), TypeError, r"^X\[1\] is missing"),
        ([b"bytes"], TypeError, r"^X\[0\] is b'bytes' .*decode"),
        ([3], TypeError, r"^X\[0\] is 3 \(int\)"),
        ({"a"}, TypeError, "^X is of type set"),
        (csr_array([[1.0]]), TypeError, "^X is a sparse matrix of numbers"),
        (3, TypeError, "^X is one int"),
    ],
)
@pytest.mark.filterwarnings("ignore:X has feature names")
def test_other_texts_are_refused_by_name(texts, error, says):
    fitted = vectorizer().fit(["a"])
    for method in (fitted.transform, fitted.fit, fitted.fit_transform):
        with pytest.raises(error, match=says):
            method(texts)


@pytest.mark.parametrize(("texts", "says"), [([], "X has no texts"), (["", ""], "no letters to learn")])
def test_nothing_to_learn_from_is_an_error(texts, says):
    with pytest.raises(ValueError, match=says):
        vectorizer().fit(texts)


def test_no_texts_have_no_vectors():
    made = vectorizer().fit(["a"]).transform(pd.Series([], dtype=object))
    assert (made.shape, made.dtype) == ((0, 8), np.float32)


@pytest.mark.parametrize(
    ("parameters", "error", "says"),
    [
        ({"hidden_size": 0}, InvalidRequestError, "^hidden_size is 0"),
        ({"hidden_size": "8"}, TypeError, "^hidden_size is '8'"),
        ({"cell": "rn"}, InvalidRequestError, "^cell is 'rn'"),
        ({"output": "all"}, InvalidRequestError, "^output is 'all'; it must be one of last, mean, max"),
        ({"output": None}, TypeError, "^output is None"),
        ({"alphabet": 3}, TypeError, "^alphabet is 3"),
        ({"alphabet": "ab", "word_embedding_size": 3}, InvalidRequestError, "^alphabet is 'ab'"),
        ({"unknown_symbol": "drop"}, InvalidRequestError, "^unknown_symbol is 'drop'"),
        ({"embedding_size": 2, "word_embedding_size": 3}, InvalidRequestError, "leave one out"),
        ({"vectors": "no_such_file"}, InvalidRequestError, "no_such_file cannot be read"),
        ({"progress": "yes"}, TypeError, "^progress is 'yes'"),
        (
            {"tokenizer": lambda _: None},
            TypeError,
            r"^tokenizer returned None \(NoneType\) for X\[0\]; it ret",
        ),
        ({"tokenizer": lambda _: [3]}, TypeError, r"^tokenizer returned \[3\] \(list\)"),
    ],
)
def test_wrong_parameters_are_refused_by_fit(parameters, error, says):
    wrong = vectorizer(**parameters)
    with pytest.raises(error, match=says):
        wrong.fit(["ab"])
