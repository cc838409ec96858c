"""Checks a request's words (over an alphabet, or sentences over word vectors) and encodes them as symbols."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Alphabet, DuplicateSymbolError, EncodedWords, UnknownSymbolError
from unrolled_server.engine_settings import Limits
from unrolled_server.errors import InvalidRequestError, Violation
from unrolled_server.validation.parsing import parse
from unrolled_server.word_vectors import VectorTable

# Memory that parsed and encoded words take for each byte of the message: a word of five letters is seven
# bytes there.
_PARSED_BYTES = 16


class RequestWords:
    """The words of one or, on a stream, several requests, with what was derived from them.

    An entry is a word of letters or, with word vectors, a sentence. `encoded` holds their symbols by table of
    vectors and rule for unknown words.
    """

    __slots__ = ("_sentences", "_symbols", "alphabet", "encoded", "entries")

    def __init__(self, entries: Sequence[str], alphabet: str) -> None:
        self.entries = entries
        self.alphabet = alphabet
        self.encoded: dict[tuple[str, int], EncodedWords] = {}
        self._symbols = alphabet
        self._sentences: list[list[str]] | None = None

    @staticmethod
    def of(request: pb.ForwardRequest, limits: Limits) -> "RequestWords":
        """Returns the request's own words.

        Raises:
            InvalidRequestError: The request refers to another's words, which only a stream has; or it has too
                many, which is checked before each becomes a Python string.
        """
        if request.same_words:
            raise _no_shared_words("this is no stream")
        entries = request.words
        count = len(entries)
        if count > limits.max_words:
            description = (
                f"words has {count} entries; this server allows {limits.max_words}; send several requests"
            )
            raise InvalidRequestError([Violation("words", description)])
        return RequestWords(list(entries), request.alphabet)

    @property
    def symbols(self) -> str:
        """The alphabet, derived by first appearance if none was given."""
        if not self._symbols:
            self._symbols = "".join(dict.fromkeys("".join(self.entries)))
        return self._symbols

    @property
    def sentences(self) -> list[list[str]]:
        """Each entry's words, split at white space."""
        if self._sentences is None:
            self._sentences = [entry.split() for entry in self.entries]
        return self._sentences


class MemoryBudget(Protocol):
    """A bound on the bytes that streams keep between requests."""

    def reserve(self, byte_count: int) -> bool:
        """Counts the bytes if there is room; returns whether there is."""

    def release(self, byte_count: int) -> None:
        """Gives back bytes that `reserve` counted."""


class SharedWords:
    """The words of a stream's latest request that had any, if `budget` has room. Used from one event loop."""

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._data: bytes | None = None
        self._words: RequestWords | None = None
        self._reserved_bytes = 0

    def store(self, data: bytes) -> None:
        """Replaces the words by those of a request."""
        self.clear()
        if self._reserve(len(data)):
            self._data = data

    def words_for(self, request: pb.ForwardRequest, limits: Limits) -> RequestWords:
        """Returns the words that a request refers to by `same_words`.

        Raises:
            InvalidRequestError: No earlier request had words, or too many, or this one has words of its own.
        """
        if request.words or request.alphabet:
            raise _no_shared_words("the request has words or an alphabet of its own; leave them out")
        if self._words is not None:
            return self._words
        if self._data is None:
            raise _no_shared_words("no earlier request of the stream had any, or memory is short")
        words = RequestWords.of(parse(self._data), limits)
        if self._reserve(_PARSED_BYTES * len(self._data)):
            self._words = words
        return words

    def clear(self) -> None:
        """Drops the words."""
        self._budget.release(self._reserved_bytes)
        self._data = self._words = None
        self._reserved_bytes = 0

    def _reserve(self, byte_count: int) -> bool:
        if not self._budget.reserve(byte_count):
            return False
        self._reserved_bytes += byte_count
        return True


def _no_shared_words(why: str) -> InvalidRequestError:
    description = f"same_words is true, but {why}; send the words with this request"
    return InvalidRequestError([Violation("same_words", description)])


def word_violations(
    request: pb.ForwardRequest,
    words: RequestWords,
    name: str,
    *,
    limits: Limits,
    tables: Mapping[str, VectorTable],
) -> list[Violation]:
    """Returns what is wrong with the words and with the alphabet or table that they are looked up in.

    `name` is that of the table; empty for an alphabet.
    """
    found: list[Violation] = []
    if not words.entries:
        found.append(Violation("words", "words is empty; send at least one word"))
    if name:
        found += _sentence_violations(words, name, limits=limits, tables=tables)
    else:
        found += _letter_violations(words, limits)
    if request.layout == pb.LAYOUT_SEQ_FIRST and not found:
        found += _layout_violations(words.sentences if name else words.entries)
    return found


def encode_words(
    words: RequestWords, name: str, *, unknown_word: int, tables: Mapping[str, VectorTable]
) -> EncodedWords:
    """Returns the symbols of valid words, over the table of this name unless it is empty.

    Raises:
        InvalidRequestError: A letter is not in the alphabet, or a word has no vector.
    """
    key = name, unknown_word
    encoded = words.encoded.get(key)
    if encoded is None:
        table = tables.get(name)
        encoded = _encode_letters(words) if table is None else _encode_sentences(words, table, unknown_word)
        words.encoded[key] = encoded
    return encoded


def _letter_violations(words: RequestWords, limits: Limits) -> list[Violation]:
    found = _alphabet_violations(words.symbols, limits)
    if words.entries:
        return _length_violations(words.entries, limits, kind="a word has at least one symbol") + found
    return found


def _sentence_violations(
    words: RequestWords, name: str, *, limits: Limits, tables: Mapping[str, VectorTable]
) -> Iterator[Violation]:
    if name not in tables:
        known = ", ".join(map(repr, sorted(tables))) or "none; it was started without --vectors"
        description = f"vectors is {name!r}; this server has {known}"
        yield Violation("embedding.vectors", description)
    if words.alphabet:
        description = "alphabet lists letters, and with vectors the symbols are words; leave it out"
        yield Violation("alphabet", description)
    if words.entries:
        yield from _length_violations(
            words.sentences, limits, kind="with vectors a text has at least one word"
        )


def _length_violations(
    sequences: Sequence[str] | Sequence[list[str]], limits: Limits, *, kind: str
) -> list[Violation]:
    found = []
    lengths = list(map(len, sequences))
    if 0 in lengths:
        at = lengths.index(0)
        found.append(Violation(f"words[{at}]", f"words[{at}] is empty; {kind}"))
    longest = max(lengths)
    if longest > limits.max_word_length:
        at = lengths.index(longest)
        description = (
            f"words[{at}] has {longest} symbols; this server allows {limits.max_word_length}; shorten or "
            "split it"
        )
        found.append(Violation(f"words[{at}]", description))
    return found


def _alphabet_violations(symbols: str, limits: Limits) -> list[Violation]:
    if len(symbols) > limits.max_alphabet_size:
        description = (
            f"the alphabet has {len(symbols)} symbols; this server allows {limits.max_alphabet_size}"
        )
        return [Violation("alphabet", description)]
    try:
        Alphabet.of(symbols)
    except DuplicateSymbolError as error:
        return [Violation("alphabet", f"{error}; name each symbol once")]
    return []


def _layout_violations(sequences: Sequence[str] | Sequence[list[str]]) -> Iterator[Violation]:
    lengths = set(map(len, sequences))
    if len(lengths) > 1:
        yield Violation(
            "layout",
            f'layout="seq_first" runs along the list of words, and they have {min(lengths)} to '
            f'{max(lengths)} symbols; send words of one length or ask for layout="batch_first"',
        )


def _encode_letters(words: RequestWords) -> EncodedWords:
    try:
        return Alphabet.of(words.symbols).encode(words.entries)
    except UnknownSymbolError as error:
        field = f"words[{error.word_index}]"
        raise InvalidRequestError([Violation(field, f"{error}; add it or drop it")]) from None


def _encode_sentences(words: RequestWords, table: VectorTable, unknown_word: int) -> EncodedWords:
    sentences = words.sentences
    lengths = np.fromiter(map(len, sentences), np.int32, len(sentences))
    codes = table.find([word for sentence in sentences for word in sentence])
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        if unknown_word <= pb.UNKNOWN_WORD_ERROR:
            raise _unknown_word(sentences, int(unknown[0]), table)
        # The engine's two symbols after those of the words: see WordVectors.
        codes[unknown] = table.word_count + (unknown_word == pb.UNKNOWN_WORD_MEAN)
    return EncodedWords.of(codes, lengths)


def _unknown_word(sentences: Sequence[list[str]], place: int, table: VectorTable) -> InvalidRequestError:
    """Names the word at index `place` of all sentences joined."""
    at = 0
    while place >= len(sentences[at]):
        place -= len(sentences[at])
        at += 1
    description = (
        f"words[{at}] has {sentences[at][place]!r} at position {place}, which the vectors {table.name!r} "
        'don\'t have; drop it, or ask for unknown_word="zero" or "mean"'
    )
    return InvalidRequestError([Violation(f"words[{at}]", description)])
