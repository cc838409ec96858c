"""What a text is made of, letters or words that have vectors, and whether a text may be in the corpus.

A file of its own because texts are judged in the first pass, by processes that load no torch; `encoder` makes
numbers of them.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from unrolled_server.exit_codes import EXIT_VECTORS
from unrolled_server.paths import NoHomeError, default_cache_directory, expand_home
from unrolled_server.word_vectors import VectorTable, open_vectors

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters

_DROP = "drop the row"


class Symbols(Protocol):
    """Judges texts."""

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """The symbols of each text."""

    def fault(self, text: str) -> str | None:
        """Why a text has a symbol that nobody knows, and what to do."""

    def are_known(self, texts: Sequence[str]) -> bool:
        """Whether no text has such a fault; quicker than asking for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Letters:
    """Texts of letters over an alphabet; None takes every letter, because it is to be derived."""

    alphabet: str | None

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Symbols`: code points."""
        return list(map(len, texts))

    def fault(self, text: str) -> str | None:
        """See `Symbols`."""
        if self.alphabet is None:
            return None
        for position, letter in enumerate(text):
            if letter not in self.alphabet:
                return f"has {letter!r} at position {position}, which is not in --alphabet; add it or {_DROP}"
        return None

    def are_known(self, texts: Sequence[str]) -> bool:
        """See `Symbols`."""
        return self.alphabet is None or set(self.alphabet).issuperset("".join(texts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentences:
    """Texts of words: what stands between white space, taken as it is."""

    table: VectorTable
    takes_unknown: bool

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """See `Symbols`: words."""
        return [len(text.split()) for text in texts]

    def fault(self, text: str) -> str | None:
        """See `Symbols`."""
        words = text.split()
        if self.takes_unknown or not words:
            return None
        for position, row in enumerate(self.table.find(words).tolist()):
            if row < 0:
                return (
                    f"has {words[position]!r} at position {position}, which the vectors "
                    f"{self.table.name!r} don't have; {_DROP}, or say --unknown-word zero or mean"
                )
        return None

    def are_known(self, texts: Sequence[str]) -> bool:
        """See `Symbols`."""
        if self.takes_unknown:
            return True
        words = [word for text in texts for word in text.split()]
        return not words or bool((self.table.find(words) >= 0).all())


def open_table(parameters: Parameters, *, digest: str | None = None) -> VectorTable | None:
    """The word vectors that the parameters name; converted once on each machine, then mapped.

    Args:
        parameters: Of the job.
        digest: What the command's machine found; None there.

    Raises:
        VectorsError: The file cannot be read or is malformed.
        CorpusError: It has other content here than where the command was given.
    """
    if parameters.vectors is None:
        return None
    name, _, file = parameters.vectors.partition("=")
    try:
        cache_directory = default_cache_directory()
    except NoHomeError as error:
        raise CorpusError(str(error), exit_code=EXIT_VECTORS) from None
    table = open_vectors(name, Path(expand_home(file)), cache_directory=cache_directory)
    if digest not in {None, table.digest}:
        raise CorpusError(
            f"{file} has the digest {table.digest} on {socket.gethostname()}, and {digest} where the "
            "command was given; put the same file on all machines",
            exit_code=EXIT_VECTORS,
        )
    return table


def symbols_of(parameters: Parameters, table: VectorTable | None) -> Symbols:
    """What the texts of a job are made of."""
    if table is None:
        return Letters(alphabet=parameters.alphabet)
    return Sentences(table=table, takes_unknown=parameters.unknown_word != "error")
