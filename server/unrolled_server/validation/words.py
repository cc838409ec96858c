"""Checks a request's words (over an alphabet, or sentences of words) and encodes them as symbols."""

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
# Stands where a rule for unknown words would: every word has a random vector.
_RANDOM = -1


class RequestWords:
    """The words of one or, on a stream, several requests, with what was derived from them.

    An entry is a word of letters or, with vectors of words, a sentence. `encoded` holds their symbols by
    table of vectors and rule for unknown words or letters.
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
    embedding: pb.Embedding | None,
    *,
    limits: Limits,
    tables: Mapping[str, VectorTable],
) -> list[Violation]:
    """Returns what is wrong with the words and with the alphabet or table that they are looked up in.

    `embedding` is the request's, if it has one.
    """
    found: list[Violation] = []
    if not words.entries:
        found.append(Violation("words", "words is empty; send at least one word"))
    sequences: Sequence[str] | Sequence[list[str]] = words.entries
    if embedding is not None and _has_sentences(embedding):
        sequences = words.sentences
        kind = "with vectors a text has at least one word"
        found += _length_violations(request, sequences, limits, kind=kind)
        found += _vocabulary_violations(request, words, embedding, tables)
    else:
        found += _length_violations(request, sequences, limits, kind="a word has at least one symbol")
        found += _alphabet_violations(words.symbols, limits)
    if request.layout == pb.LAYOUT_SEQ_FIRST and not found:
        found += _layout_violations(request, sequences)
    return found


def encode_words(
    request: pb.ForwardRequest,
    words: RequestWords,
    embedding: pb.Embedding | None,
    *,
    tables: Mapping[str, VectorTable],
) -> EncodedWords:
    """Returns the symbols of valid words; `embedding` is the request's, if it has one.

    Raises:
        InvalidRequestError: A letter is not in the alphabet, or a word has no vector.
    """
    name = ""
    rule: int = request.unknown_symbol
    if embedding is not None and _has_sentences(embedding):
        name, rule = embedding.vectors, embedding.unknown_word if embedding.vectors else _RANDOM
    key = name, rule
    encoded = words.encoded.get(key)
    if encoded is None:
        if name:
            encoded = _encode_sentences(words, tables[name], rule)
        elif rule == _RANDOM:
            encoded = EncodedWords.of_random_words(words.sentences)
        else:
            encoded = _encode_letters(words, rule)
        words.encoded[key] = encoded
    return encoded


def _has_sentences(embedding: pb.Embedding) -> bool:
    """Returns whether the entries of `words` are sentences."""
    return bool(embedding.vectors or embedding.random_word_size)


def _vocabulary_violations(
    request: pb.ForwardRequest,
    words: RequestWords,
    embedding: pb.Embedding,
    tables: Mapping[str, VectorTable],
) -> Iterator[Violation]:
    name = embedding.vectors
    if name and name not in tables:
        known = ", ".join(map(repr, sorted(tables))) or "none; it was started without --vectors"
        description = f"vectors is {name!r}; this server has {known}"
        yield Violation("embedding.vectors", description)
    option = "vectors" if name else "word_embedding_size"
    if words.alphabet:
        description = f"alphabet lists letters, and with {option} the symbols are words; leave it out"
        yield Violation("alphabet", description)
    if request.unknown_symbol:
        rule = pb.UnknownSymbol.Name(request.unknown_symbol).removeprefix("UNKNOWN_SYMBOL_").lower()
        description = (
            f'unknown_symbol is "{rule}", which is for letters, and with {option} the symbols are words; '
            "leave it out"
        )
        yield Violation("unknown_symbol", description)


def _length_violations(
    request: pb.ForwardRequest,
    sequences: Sequence[str] | Sequence[list[str]],
    limits: Limits,
    *,
    kind: str,
) -> list[Violation]:
    """Returns what is wrong with the lengths; `kind` says why none is 0 unless the request allows it."""
    found = []
    lengths = list(map(len, sequences))
    if 0 in lengths and not request.allow_empty_words:
        at = lengths.index(0)
        description = f'words[{at}] is empty; {kind}; drop it, or ask for on_empty="zero"'
        found.append(Violation(f"words[{at}]", description))
    longest = max(lengths) if lengths else 0
    if longest > limits.max_word_length:
        at = lengths.index(longest)
        description = (
            f"words[{at}] has {longest} symbols; this server allows {limits.max_word_length}; shorten or "
            "split it, or ask for truncate=True"
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


def _layout_violations(
    request: pb.ForwardRequest, sequences: Sequence[str] | Sequence[list[str]]
) -> Iterator[Violation]:
    if request.allow_empty_words:
        description = (
            'on_empty is "zero", and layout="seq_first" needs words of one length, 1 or more; leave it out '
            'or ask for layout="batch_first"'
        )
        yield Violation("allow_empty_words", description)
    lengths = set(map(len, sequences))
    if len(lengths) > 1:
        yield Violation(
            "layout",
            f'layout="seq_first" runs along the list of words, and they have {min(lengths)} to '
            f'{max(lengths)} symbols; send words of one length or ask for layout="batch_first"',
        )


def _encode_letters(words: RequestWords, unknown_symbol: int) -> EncodedWords:
    allow_unknown = unknown_symbol == pb.UNKNOWN_SYMBOL_ZERO
    try:
        return Alphabet.of(words.symbols).encode(words.entries, allow_unknown=allow_unknown)
    except UnknownSymbolError as error:
        field = f"words[{error.word_index}]"
        description = f'{error}; add it, or ask for unknown_symbol="skip" or "zero"'
        raise InvalidRequestError([Violation(field, description)]) from None


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
