"""The symbols of a text, letters or words, and which symbols a job leaves out or refuses.

The first pass uses this in processes that don't load the core; `encode` turns symbols into numbers.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from unrolled.text import first_symbols, letter_filter, tokenize
from unrolled_server.exit_codes import EXIT_VECTORS
from unrolled_server.paths import NoHomeError, default_cache_directory, expand_home
from unrolled_server.word_vectors import VectorsError, VectorTable, open_vectors

from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters


@dataclass(frozen=True, slots=True)
class TextRules:
    """The rules of a job's texts, whose symbols are letters or, of sentences, words between white space."""

    parameters: Parameters
    table: VectorTable | None

    def prepare(self, texts: Sequence[str]) -> Sequence[str]:
        """Returns the texts that the networks read: tokenized, without letters to skip, and cut.

        They have the symbols that the SDK's options of the same names leave.
        """
        asked = self.parameters
        if asked.tokenize:
            texts = list(map(tokenize, texts))
        if asked.unknown_symbol == "skip":
            texts = list(map(letter_filter(asked.alphabet or ""), texts))
        if asked.truncate:
            cut = partial(first_symbols, count=asked.max_word_length, is_sentence=asked.reads_sentences)
            texts = list(map(cut, texts))
        return texts

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Returns how many symbols each text has."""
        if self.parameters.reads_sentences:
            return [len(text.split()) for text in texts]
        return list(map(len, texts))

    def accepts(self, texts: Sequence[str]) -> bool:
        """Returns whether `fault` would find nothing in any text; faster than to ask for each."""
        if self.table is None:
            alphabet = self.parameters.alphabet
            has_all = alphabet is None or self.parameters.unknown_symbol == "zero"
            return has_all or set(alphabet or "").issuperset("".join(texts))
        if self.parameters.unknown_word != "error":
            return True
        words = [word for text in texts for word in text.split()]
        return not words or bool((self.table.find(words) >= 0).all())

    def fault(self, text: str) -> str | None:
        """Returns what is wrong with the first symbol that is not accepted, and the remedy, or None."""
        if self.accepts([text]):
            return None
        if self.table is None:
            alphabet = self.parameters.alphabet or ""
            position = next(at for at, letter in enumerate(text) if letter not in alphabet)
            return (
                f"has {text[position]!r} at position {position}, which is not in --alphabet; add it, drop "
                "the row, or say --unknown-symbol skip or zero"
            )
        words = text.split()
        position = int((self.table.find(words) < 0).argmax())
        return (
            f"has {words[position]!r} at position {position}, which the vectors {self.table.name!r} don't "
            "have; drop the row, or say --unknown-word zero or mean"
        )


def open_vector_table(parameters: Parameters, *, digest: str | None = None) -> VectorTable | None:
    """Opens the word vectors, converted once on each machine and then mapped; None without --vectors.

    Raises:
        CorpusError: The file can't be read, is malformed, or lacks the digest found on the command's machine.
    """
    if parameters.vectors is None:
        return None
    name, _, file = parameters.vectors.partition("=")
    try:
        table = open_vectors(name, expand_home(file), cache_directory=default_cache_directory())
    except (NoHomeError, VectorsError) as error:
        raise CorpusError(str(error), exit_code=EXIT_VECTORS) from None
    if digest not in {None, table.digest}:
        raise CorpusError(
            f"{file} has the digest {table.digest} on {socket.gethostname()}, and {digest} where the "
            "command was given; put the same file on all machines",
            exit_code=EXIT_VECTORS,
        )
    return table
