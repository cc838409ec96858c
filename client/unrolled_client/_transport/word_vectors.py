"""Word vectors that a caller hands to a local client: files, or words and a matrix in memory."""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

from numpy.typing import ArrayLike


@runtime_checkable
class KeyedVectors(Protocol):
    """What is used of gensim.models.KeyedVectors, which is never imported."""

    index_to_key: Any
    vectors: Any


@runtime_checkable
class DataFrame(Protocol):
    """What is used of a pandas.DataFrame with words as its index; pandas is never imported."""

    @property
    def index(self) -> Any: ...
    def to_numpy(self) -> Any: ...


VectorSource: TypeAlias = str | PathLike[str] | tuple[Iterable[str], ArrayLike] | KeyedVectors | DataFrame
VectorSources: TypeAlias = str | Sequence[str] | Mapping[str, VectorSource]


class WordMatrix(NamedTuple):
    """Words and the matrix with a row for each; its repr is short."""

    words: tuple[str, ...]
    matrix: ArrayLike

    def __repr__(self) -> str:
        return f"<vectors of {len(self.words)} words>"


def held_vectors(vectors: object) -> object:
    """Returns word vectors in a form that can be read again, pickled and shown; leaves others as they are."""
    if not isinstance(vectors, Mapping):
        return vectors
    return {name: _held(name, source) for name, source in vectors.items()}


def _held(name: object, source: Any) -> object:
    if isinstance(source, KeyedVectors):
        source = source.index_to_key, source.vectors
    elif isinstance(source, DataFrame):
        source = source.index, source.to_numpy()
    if isinstance(source, str | PathLike):
        return source
    if not isinstance(source, tuple) or len(source) != len(WordMatrix._fields):
        raise TypeError(
            f"vectors[{name!r}] is {reprlib.repr(source)} ({type(source).__name__}); give a file, (WORDS, "
            "MATRIX), gensim's KeyedVectors or a DataFrame with words as its index"
        )
    words, matrix = source
    if isinstance(words, str | bytes) or not isinstance(words, Iterable):
        raise TypeError(f"vectors[{name!r}] begins with {words!r:.80}; give (WORDS, MATRIX)")
    if isinstance(words, set | frozenset):
        raise TypeError(
            f"vectors[{name!r}] begins with a {type(words).__name__}, whose order differs from run to run; "
            "give a list of words in the order of the matrix's rows"
        )
    return WordMatrix(tuple(words), matrix)
