"""Words as a request gives them: what they must keep to, and the symbols that they stand for.

A file of its own because an entry of `words` is either a word of letters over an alphabet or a sentence of
words over a table of vectors, and because requests of one stream may share their texts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Alphabet, DuplicateSymbolError, EncodedWords, UnknownSymbolError
from unrolled_server.errors import InvalidRequestError, Violation
from unrolled_server.settings.model import Limits
from unrolled_server.validation.parsing import parse
from unrolled_server.word_vectors import VectorTable

# What parsed and encoded texts take, to a byte of the message: a word of five letters is seven bytes there.
_PARSED_BYTES = 16
_LETTERS = ("", 0)  # neither vectors nor a rule for unknown words


class Texts:
    """The texts of one request, and what was made of them; several requests of a stream may have the same.

    Attributes:
        words: One entry a sequence.
        alphabet: As given; empty where it is to be derived.
        encoded: The symbols of the words, by what they were looked up in.
    """

    __slots__ = ("_sentences", "_symbols", "alphabet", "encoded", "words")

    def __init__(self, words: Sequence[str], alphabet: str) -> None:
        self.words = words
        self.alphabet = alphabet
        self.encoded: dict[tuple[str, int], EncodedWords] = {}
        self._symbols = alphabet
        self._sentences: list[list[str]] | None = None

    @staticmethod
    def of(request: pb.ForwardRequest, limits: Limits) -> "Texts":
        """The texts that a request carries.

        Raises:
            InvalidRequestError: It means those of another request, which only a stream has; or it has more
                than may be, which is told before a string is made of each.
        """
        if request.same_words:
            raise _no_shared_words("this is no stream")
        count = len(request.words)
        if count > limits.max_words:
            description = (
                f"words has {count} entries; this server allows {limits.max_words}; send several requests"
            )
            raise InvalidRequestError([Violation(field="words", description=description)])
        return Texts(list(request.words), request.alphabet)

    @property
    def symbols(self) -> str:
        """The alphabet, derived by first appearance where none was given."""
        if not self._symbols:
            self._symbols = "".join(dict.fromkeys("".join(self.words)))
        return self._symbols

    @property
    def sentences(self) -> list[list[str]]:
        """Each text's words: what stands between white space."""
        if self._sentences is None:
            self._sentences = [text.split() for text in self.words]
        return self._sentences


class MemoryBudget(Protocol):
    """A bound on the bytes that streams may keep between requests."""

    def reserve(self, byte_count: int) -> bool:
        """Counts the bytes if there is room for them; returns whether there is."""

    def release(self, byte_count: int) -> None:
        """Gives back bytes that `reserve` counted."""


class SharedTexts:
    """The texts of a stream's latest request that had any. Used from one event loop.

    Args:
        budget: Bounds the memory that they take; where it has none left they aren't kept.
    """

    def __init__(self, budget: MemoryBudget) -> None:
        self._budget = budget
        self._data: bytes | None = None
        self._texts: Texts | None = None
        self._kept_bytes = 0

    def note(self, data: bytes) -> None:
        """Takes a request that has words of its own."""
        self.clear()
        if self._keep(len(data)):
            self._data = data

    def texts_for(self, request: pb.ForwardRequest, limits: Limits) -> Texts:
        """The texts that a request means by `same_words`.

        Raises:
            InvalidRequestError: There are none, or too many, or the request has some of its own.
        """
        if request.words or request.alphabet:
            raise _no_shared_words("the request has words or an alphabet of its own; leave them out")
        if self._texts is not None:
            return self._texts
        if self._data is None:
            raise _no_shared_words("no earlier request of the stream had any, or memory is short")
        texts = Texts.of(parse(self._data), limits)
        if self._keep(_PARSED_BYTES * len(self._data)):
            self._texts = texts
        return texts

    def clear(self) -> None:
        """Lets go of the texts."""
        self._budget.release(self._kept_bytes)
        self._data = self._texts = None
        self._kept_bytes = 0

    def _keep(self, byte_count: int) -> bool:
        if not self._budget.reserve(byte_count):
            return False
        self._kept_bytes += byte_count
        return True


def _no_shared_words(why: str) -> InvalidRequestError:
    description = f"same_words is true, but {why}; send the words with this request"
    return InvalidRequestError([Violation(field="same_words", description=description)])


def text_violations(
    request: pb.ForwardRequest, texts: Texts, *, limits: Limits, tables: Mapping[str, VectorTable]
) -> list[Violation]:
    """Returns broken rules of the texts and of the alphabet or table that they are looked up in."""
    name = request.embedding.vectors if request.HasField("embedding") else ""
    found: list[Violation] = []
    if not texts.words:
        found.append(Violation(field="words", description="words is empty; send at least one word"))
    if name:
        found += _sentence_violations(texts, name, limits=limits, tables=tables)
    else:
        found += _letter_violations(texts, limits)
    if request.layout == pb.LAYOUT_SEQ_FIRST and not found:
        found += _layout_violations(texts.sentences if name else texts.words)
    return found


def encode(request: pb.ForwardRequest, texts: Texts, *, tables: Mapping[str, VectorTable]) -> EncodedWords:
    """The symbols of texts without violations.

    Raises:
        InvalidRequestError: A letter that is not in the alphabet, or a word that has no vector.
    """
    key = _LETTERS
    if request.HasField("embedding"):
        key = request.embedding.vectors, request.embedding.unknown_word
    encoded = texts.encoded.get(key)
    if encoded is None:
        table = tables.get(key[0])
        encoded = _encode_letters(texts) if table is None else _encode_sentences(texts, table, key[1])
        texts.encoded[key] = encoded
    return encoded


def _letter_violations(texts: Texts, limits: Limits) -> Iterator[Violation]:
    words = texts.words
    if words:
        yield from _length_violations(words, limits, kind="a word has at least one symbol")
    yield from _alphabet_violations(texts.symbols, limits)


def _sentence_violations(
    texts: Texts, name: str, *, limits: Limits, tables: Mapping[str, VectorTable]
) -> Iterator[Violation]:
    if name not in tables:
        known = ", ".join(map(repr, sorted(tables))) or "none; it was started without --vectors"
        description = f"vectors is {name!r}; this server has {known}"
        yield Violation(field="embedding.vectors", description=description)
    if texts.alphabet:
        description = "alphabet lists letters, and with vectors the symbols are words; leave it out"
        yield Violation(field="alphabet", description=description)
    if texts.words:
        yield from _length_violations(
            texts.sentences, limits, kind="with vectors a text has at least one word"
        )


def _length_violations(
    sequences: Sequence[str] | Sequence[list[str]], limits: Limits, *, kind: str
) -> Iterator[Violation]:
    lengths = list(map(len, sequences))
    if 0 in lengths:
        at = lengths.index(0)
        yield Violation(field=f"words[{at}]", description=f"words[{at}] is empty; {kind}")
    longest = max(lengths)
    if longest > limits.max_word_length:
        at = lengths.index(longest)
        yield Violation(
            field=f"words[{at}]",
            description=(
                f"words[{at}] has {longest} symbols; this server allows {limits.max_word_length}; "
                "shorten or split it"
            ),
        )


def _alphabet_violations(symbols: str, limits: Limits) -> Iterator[Violation]:
    if len(symbols) > limits.max_alphabet_size:
        description = (
            f"the alphabet has {len(symbols)} symbols; this server allows {limits.max_alphabet_size}"
        )
        yield Violation(field="alphabet", description=description)
        return
    try:
        Alphabet.of(symbols)
    except DuplicateSymbolError as error:
        yield Violation(field="alphabet", description=f"{error}; name each symbol once")


def _layout_violations(sequences: Sequence[str] | Sequence[list[str]]) -> Iterator[Violation]:
    lengths = set(map(len, sequences))
    if len(lengths) > 1:
        yield Violation(
            field="layout",
            description=(
                f'layout="seq_first" runs along the list of words, and they have {min(lengths)} to '
                f'{max(lengths)} symbols; send words of one length or ask for layout="batch_first"'
            ),
        )


def _encode_letters(texts: Texts) -> EncodedWords:
    try:
        return Alphabet.of(texts.symbols).encode(texts.words)
    except UnknownSymbolError as error:
        field = f"words[{error.word_index}]"
        raise InvalidRequestError(
            [Violation(field=field, description=f"{error}; add it or drop it")]
        ) from None


def _encode_sentences(texts: Texts, table: VectorTable, unknown_word: int) -> EncodedWords:
    sentences = texts.sentences
    lengths = np.fromiter(map(len, sentences), np.int32, len(sentences))
    codes = table.find([word for sentence in sentences for word in sentence])
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        if unknown_word <= pb.UNKNOWN_WORD_ERROR:
            raise _unknown_word(sentences, int(unknown[0]), table)
        # The engine's two symbols after those of the words: see WordVectors.
        codes[unknown] = table.word_count + (unknown_word == pb.UNKNOWN_WORD_MEAN)
    return EncodedWords(texts.words, (table.digest, unknown_word), codes=codes, lengths=lengths)


def _unknown_word(sentences: Sequence[list[str]], place: int, table: VectorTable) -> InvalidRequestError:
    """Names the word at a place among all words of all sentences."""
    at = 0
    while place >= len(sentences[at]):
        place -= len(sentences[at])
        at += 1
    description = (
        f"words[{at}] has {sentences[at][place]!r} at position {place}, which the vectors {table.name!r} "
        'don\'t have; drop it, or ask for unknown_word="zero" or "mean"'
    )
    return InvalidRequestError([Violation(field=f"words[{at}]", description=description)])
