"""What a job computes: the network and what is asked of it, by the SDK's names.

A file of its own because these values are what a job is: they are judged before anything starts, written into
the manifest, and a job is resumed only if they are the same. It knows no torch, so that they are judged at
once.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from unrolled_corpus.errors import CorpusError

CellName: TypeAlias = Literal["rnn", "lstm", "gru"]
NonlinearityName: TypeAlias = Literal["tanh", "relu"]
OutputName: TypeAlias = Literal["all", "last", "mean", "max"]
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]
OnEmpty: TypeAlias = Literal["error", "skip", "zero"]

ROW_COLUMN = "row"
"""The output's column of row numbers, where rows are left out."""

_MAX_HIDDEN_SIZE = 65_536
_MAX_LAYERS = 16
_MAX_SPECTRAL_RADIUS = 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """See the SDK's `NetworkOptions`; beside them what a corpus needs.

    Attributes:
        seeds: One output column each.
        alphabet: None derives it from the corpus.
        vectors: NAME=FILE of word vectors; texts are then sentences.
        max_word_length: Symbols of the longest text that is allowed.
        part_rows: Rows of the input for each file of the output.
        on_empty: What a row gets whose text is null or has no symbols.
    """

    hidden_size: int
    seeds: tuple[int, ...]
    cell: CellName
    nonlinearity: NonlinearityName
    num_layers: int
    bidirectional: bool
    bias: bool
    proj_size: int
    spectral_radius: float | None
    embedding_size: int | None
    alphabet: str | None
    vectors: str | None
    unknown_word: UnknownWord
    output: OutputName
    max_word_length: int
    part_rows: int
    on_empty: OnEmpty

    @property
    def width(self) -> int:
        """Of a state of the last layer."""
        return (self.proj_size or self.hidden_size) << self.bidirectional

    @property
    def is_pooled(self) -> bool:
        """Whether a text has one vector."""
        return self.output != "all"

    def check(self) -> None:
        """Judges the values.

        Raises:
            CorpusError: One is out of its range, or two do not go together.
        """
        _check_range("--hidden-size", self.hidden_size, 1, _MAX_HIDDEN_SIZE)
        _check_range("--num-layers", self.num_layers, 1, _MAX_LAYERS)
        _check_range("--proj-size", self.proj_size, 0, self.hidden_size - 1)
        _check_range("--max-word-length", self.max_word_length, 1, 1 << 20)
        _check_range("--part-rows", self.part_rows, 1, 1 << 24)
        if self.embedding_size is not None:
            _check_range("--embedding-size", self.embedding_size, 1, _MAX_HIDDEN_SIZE)
        self._check_cell()
        self._check_radius()
        self._check_symbols()

    def _check_cell(self) -> None:
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise CorpusError(f"--nonlinearity is for the rnn cell; {self.cell} has its own; leave it out")
        if self.cell != "lstm" and self.proj_size:
            raise CorpusError(f"--proj-size is for the lstm cell; {self.cell} has none; leave it out")

    def _check_radius(self) -> None:
        radius = self.spectral_radius
        if radius is None:
            return
        if not 0 < radius <= _MAX_SPECTRAL_RADIUS:
            raise CorpusError(
                f"--spectral-radius is {radius:g}; it must be above 0 and up to {_MAX_SPECTRAL_RADIUS:g}"
            )
        if self.proj_size:
            raise CorpusError(
                "--spectral-radius is for square recurrent matrices, and --proj-size makes them others; "
                "leave one of them out"
            )

    def _check_symbols(self) -> None:
        alphabet = self.alphabet
        if alphabet is not None:
            twice = next((symbol for at, symbol in enumerate(alphabet) if symbol in alphabet[:at]), None)
            if not alphabet or twice is not None:
                what = "is empty" if twice is None else f"has {twice!r} more than once"
                raise CorpusError(f"--alphabet {what}; name each symbol once, or leave it out to derive it")
        if self.vectors is None:
            if self.unknown_word != "error":
                raise CorpusError("--unknown-word is for --vectors; leave it out")
            return
        if alphabet is not None or self.embedding_size is not None:
            other = "--embedding-size" if alphabet is None else "--alphabet"
            raise CorpusError(f"{other} is for letters, and with --vectors symbols are words; leave one out")
        if not all(self.vectors.partition("=")):
            raise CorpusError(
                f"--vectors is {self.vectors!r}; give NAME=FILE, such as glove=glove.6B.50d.txt"
            )


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise CorpusError(f"{name} is {value}; it must be from {lowest} to {highest:,}")
