"""Lists of words as callers have them, and what only looks like one."""

import io
import math
from collections import Counter, OrderedDict
from collections.abc import Sequence

import numpy as np
import pytest
from unrolled_client import InvalidRequestError, derive_alphabet
from unrolled_client._messages.words import as_list, as_words

WORDS = ["hello", "world", "again"]
NOBODY = "127.0.0.1:1"


class Table:
    """A table as pandas and Arrow have it: rows and columns, and as an iterable the names of the columns."""

    def __init__(self, shape=(3, 1)):
        self.shape = shape

    def __iter__(self):
        return iter(["word"])

    def to_pylist(self):
        return [{"word": word} for word in WORDS]


class ArrowArray:
    """An array whose items are scalars of its own."""

    def __init__(self, values):
        self._values = values

    def __iter__(self):
        return (object() for _ in self._values)

    def to_pylist(self):
        return self._values


class Column(Sequence):
    """A column of a table: a shape of one axis, and Python's values."""

    shape = (3,)

    def __len__(self):
        return 3

    def __getitem__(self, at):
        return WORDS[at]


class NAType:
    """pandas.NA by its type's name: what it equals is NA, which is neither true nor false."""

    def __eq__(self, _other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __hash__ = object.__hash__

    def __repr__(self):
        return "<NA>"


class NullScalar:
    """One of Arrow's scalars that is null."""

    is_valid = False


async def asynchronously():
    for word in WORDS:
        yield word


@pytest.mark.parametrize(
    "words",
    [
        tuple(WORDS),
        iter(WORDS),
        (word for word in WORDS),
        np.array(WORDS),
        np.array(WORDS, object),
        [np.str_(word) for word in WORDS],
        dict.fromkeys(WORDS).keys(),
        {1: "hello", 2: "world", 3: "again"}.values(),
        ArrowArray(WORDS),
        Column(),
    ],
    ids=lambda words: type(words).__name__,
)
def test_lists_columns_and_arrays_are_taken(words):
    """Whatever has words in an order."""
    assert as_words(words) == WORDS


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("hello", r"words is one str; pass a list of words, such as \['hello'\]"),
        (b"hello", r"words is one bytes; pass a list of words$"),
        (bytearray(b"hello"), r"words is one bytearray; pass a list of words"),
        (memoryview(b"hello"), r"words is one memoryview; pass a list of words$"),
        (3, r"words is one int; pass a list of words$"),
        (None, r"words is None; pass a list of words"),
        (0.5, r"words is 0\.5 \(float\); pass a list of words"),
        ({"hello": 1}, r"words is of type dict; pass a list of words, such as list\(words\.values\(\)\)"),
        (Counter(WORDS), "words is of type Counter; pass a list"),
        (OrderedDict.fromkeys(WORDS), "words is of type OrderedDict; pass a list"),
        (set(WORDS), r"words is of type set, whose order differs from run to run; .*sorted\(words\)"),
        (frozenset(WORDS), "words is of type frozenset, whose order"),
        (Table(), r"words is of type Table and of shape \(3, 1\); pass one column.*words\['word'\]"),
        (np.array([WORDS]), r"words is of type ndarray and of shape \(1, 3\)"),
        (np.array(WORDS[0]), r"words is array\(.*ndarray\); pass a list"),
        (np.zeros((0, 3)), r"words is of type ndarray and of shape \(0, 3\)"),
        ([WORDS], r"words\[0\] is \['hello', .* \(list\); every word is a str"),
        ([*WORDS, tuple(WORDS)], r"words\[3\] is .* \(tuple\)"),
        (np.zeros(3), r"words\[0\] is .*0\.0.* \(float64\)"),
        (np.array([b"hello"]), r"words\[0\] is .* \(bytes_\); .*decode"),
        (ArrowArray([{"word": "hello"}]), r"words\[0\] is .* \(dict\)"),
        (io.StringIO("hello\nworld\n"), r"words is of type StringIO, whose lines .*splitlines\(\)"),
        (
            asynchronously(),
            "words is of type async_generator, which only AsyncClient.map takes, for batches; pass a list",
        ),
    ],
    ids=str,
)
def test_what_only_looks_like_words_is_refused(words, says):
    """With its type, and what to pass in its place."""
    with pytest.raises(TypeError, match=says):
        as_words(words)


@pytest.mark.parametrize(
    ("missing", "shown"),
    [
        (None, "None"),
        (math.nan, "nan"),
        (np.float64("nan"), "nan"),
        (np.float32("nan"), "nan"),
        (NAType(), "<NA>"),
        (np.ma.masked, "masked"),
        (NullScalar(), "NullScalar"),
    ],
)
def test_a_missing_word_is_named_as_missing(missing, shown):
    """With its place, and the remedy."""
    says = rf"words\[3\] is missing \(.*{shown}.*\); drop missing words, for example with dropna\(\)"
    with pytest.raises(TypeError, match=says):
        as_words([*WORDS, missing, "more"])
    with pytest.raises(TypeError, match=says):
        as_words(ArrowArray([*WORDS, missing]))


def test_a_masked_array_has_missing_words():
    """A mask is not lost on the way."""
    words = np.ma.array(WORDS, mask=[False, True, False])
    with pytest.raises(TypeError, match=r"words\[1\] is missing"):
        as_words(words)


def test_what_an_iterable_raises_comes_through():
    """A TypeError of the caller's own generator is not taken for one of ours."""

    def words():
        yield "hello"
        raise TypeError("mine")

    with pytest.raises(TypeError, match=r"^mine$"):
        as_words(words())


REQUIRED = {"hidden_size": 2, "alphabet": "helowrdagin"}
CALLS = {
    "forward": lambda client, words: client.forward(words, hidden_size=2),
    "map": lambda client, words: next(iter(client.map([words], **REQUIRED))).result,
    "sweep": lambda client, words: next(iter(client.sweep(words, hidden_sizes=[2], seeds=[0]))),
    "session": lambda client, words: client.session(**REQUIRED).feed(words),
}


@pytest.mark.parametrize("call", CALLS)
def test_every_call_takes_the_same_words(make_client, server_address, call):
    """An array of Arrow's, numpy's and a list are one to every call."""
    with make_client(server_address) as client:
        expected = CALLS[call](client, WORDS).outputs
        for words in (ArrowArray(WORDS), np.array(WORDS), Column()):
            assert np.array_equal(CALLS[call](client, words).outputs, expected)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (Table(), " is of type Table and of shape"),
        (set(WORDS), " is of type set"),
        ({"a": 1}, " is of type dict"),
        (b"hello", " is one bytes"),
        (["a", None], r"\[1\] is missing"),
    ],
    ids=str,
)
def test_every_call_refuses_the_same(make_client, serve_stream, call, words, says):
    """Before anything is sent."""
    target = serve_stream(lambda _requests, _context: pytest.fail("a request was sent"))
    name = r"^batches\[0\]" if call == "map" else "^words"
    with make_client(target) as client, pytest.raises(TypeError, match=name + says):
        CALLS[call](client, words)


@pytest.mark.parametrize(
    "words", ["hello", b"hello", {"a": 1}, {"a", "b"}, Table(), ["a", None], [WORDS], None]
)
def test_an_alphabet_is_derived_of_words_only(words):
    """derive_alphabet takes what calls take."""
    with pytest.raises(TypeError, match="words"):
        derive_alphabet(words)
    assert derive_alphabet(ArrowArray(WORDS)) == "helowrdagin"


@pytest.mark.parametrize(
    ("batches", "says"),
    [
        ("hello", "batches is one str; pass a list of lists of words"),
        ({"a": WORDS}, r"batches is of type dict; .*list\(batches\.values\(\)\)"),
        ({("a", "b")}, "batches is of type set"),
        (None, "batches is None"),
        (3, "batches is one int"),
    ],
)
def test_batches_are_lists_of_words(make_client, batches, says):
    """What is no iterable of batches is refused when `map` is called."""
    with make_client(NOBODY) as client, pytest.raises(TypeError, match=says):
        list(client.map(batches, hidden_size=2, alphabet="ab"))


def test_words_in_place_of_batches_are_named(make_client, server_address):
    """A list of words is no list of batches; each would be one str."""
    says = r"^batches\[0\] is one str; pass a list of words, such as \['hello'\]$"
    with make_client(server_address) as client, pytest.raises(TypeError, match=says):
        list(client.map(WORDS, hidden_size=2, alphabet="helowrdagin"))


def test_a_word_of_a_batch_is_named_by_both_places(make_client, server_address):
    """The batch that it is in, and its place there."""
    batches = [["a"], ["b", None], "ab"]
    with make_client(server_address) as client:
        outcomes = list(client.map(batches, hidden_size=2, alphabet="ab", on_error="return"))
    assert outcomes[0].error is None
    assert str(outcomes[1].error).startswith("batches[1][1] is missing (None); ")
    assert str(outcomes[2].error).startswith("batches[2] is one str; ")


def test_lists_of_ints_are_judged_alike():
    """Arrow's arrays become ints; tables and sets are refused by the argument's name."""
    assert as_list("seeds", ArrowArray([1, 2]), items="ints") == [1, 2]
    assert as_list("seeds", range(3), items="ints") == [0, 1, 2]
    for values in (Table(), {1, 2}, {1: 2}, np.zeros((2, 2)), 5, np.int64(5)):
        with pytest.raises(TypeError, match=r"seeds is .*; pass"):
            as_list("seeds", values, items="ints")


@pytest.mark.long
def test_columns_of_pandas_are_taken_and_tables_refused():
    """Series and indexes of every type that holds text; a DataFrame's names of columns are no words."""
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(WORDS, index=[7, 8, 9])
    for kind in (object, "string", "category"):
        assert as_words(column.astype(kind)) == WORDS
    assert as_words(pandas.Index(WORDS)) == WORDS
    frame = pandas.DataFrame({"word": WORDS})
    assert as_words(frame["word"]) == WORDS
    for table in (frame, frame[["word"]], frame.iloc[:0]):
        with pytest.raises(TypeError, match="words is of type DataFrame and of shape"):
            as_words(table)
    for missing in (None, math.nan, pandas.NA, pandas.NaT):
        for kind in (object, "string"):
            with pytest.raises(TypeError, match=r"words\[1\] is missing"):
                as_words(pandas.Series(["a", missing, "b"], dtype=object).astype(kind))


@pytest.mark.long
def test_arrays_of_arrow_are_taken_and_tables_refused():
    """Plain, chunked and dictionary arrays, from pandas too; nulls are named, tables are no words."""
    arrow = pytest.importorskip("pyarrow")
    for kind in (arrow.string(), arrow.large_string(), arrow.string_view()):
        assert as_words(arrow.array(WORDS, kind)) == WORDS
    assert as_words(arrow.chunked_array([WORDS[:1], WORDS[1:]])) == WORDS
    assert as_words(arrow.array(WORDS).dictionary_encode()) == WORDS
    with pytest.raises(TypeError, match=r"words\[1\] is missing \(None\)"):
        as_words(arrow.array(["a", None]))
    with pytest.raises(TypeError, match=r"words\[1\] is missing"):
        as_words(list(arrow.array(["a", None]).to_pylist()))
    with pytest.raises(TypeError, match=r"words\[0\] is .*; every word is a str"):
        as_words(arrow.array(WORDS, arrow.binary()))
    for table in (arrow.table({"word": WORDS}), arrow.record_batch({"word": WORDS})):
        with pytest.raises(TypeError, match=r"of shape \(3, 1\); pass one column"):
            as_words(table)
    assert as_words(arrow.table({"word": WORDS})["word"]) == WORDS


@pytest.mark.long
def test_batches_of_arrow_are_lists_of_words(make_client, server_address):
    """An array of lists is as good as a list of lists."""
    arrow = pytest.importorskip("pyarrow")
    batches = [["ab"], ["b", "a"]]
    with make_client(server_address) as client:
        outcomes = list(client.map(arrow.array(batches), hidden_size=2, alphabet="ab"))
    assert [outcome.result.lengths.tolist() for outcome in outcomes] == [[2], [1, 1]]


def test_an_empty_list_is_the_servers_to_refuse(make_client, server_address):
    """It is a list of words; that there has to be one is the server's rule."""
    with make_client(server_address) as client, pytest.raises(InvalidRequestError, match="words is empty"):
        client.forward([], hidden_size=2)
