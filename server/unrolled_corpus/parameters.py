"""The network and the form of the output, by the SDK's names; checked before Ray or torch is imported."""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from unrolled_corpus.errors import CorpusError

CellName: TypeAlias = Literal["rnn", "lstm", "gru"]
NonlinearityName: TypeAlias = Literal["tanh", "relu"]
OutputName: TypeAlias = Literal["all", "last", "mean", "max"]
UnknownWord: TypeAlias = Literal["error", "zero", "mean"]
OnEmpty: TypeAlias = Literal["error", "skip", "zero"]

ROW_COLUMN = "row"
"""The output's column of row numbers with ``--on-empty skip``."""

_MAX_HIDDEN_SIZE = 65_536
_MAX_LAYERS = 16
_MAX_SPECTRAL_RADIUS = 1e3
_SEEDS = re.compile(r"(-?\d{1,20})(?:-(-?\d{1,20}))?")
_MAX_SEEDS = 1_000
_MIN_SEED, _MAX_SEED = -(2**63), 2**64 - 1  # as for torch.manual_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The SDK's `NetworkOptions` and what only a corpus needs; the manifest keeps them.

    Attributes:
        seeds: Each one gives a column.
        alphabet: None derives it from the corpus.
        vectors: NAME=FILE of word vectors; texts are then sentences.
        max_word_length: Largest number of symbols of a text.
        part_rows: Rows of the input for each file of the output.
        on_empty: What happens to a row whose text is null or has no symbols.
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
        """The numbers of one state of the last layer."""
        return (self.proj_size or self.hidden_size) << self.bidirectional

    @property
    def is_pooled(self) -> bool:
        """Whether a text has one vector instead of all states."""
        return self.output != "all"

    def check(self) -> None:
        """Raises a `CorpusError` if a value is out of range or excludes another."""
        _check_range("--hidden-size", self.hidden_size, 1, _MAX_HIDDEN_SIZE)
        _check_range("--num-layers", self.num_layers, 1, _MAX_LAYERS)
        _check_range("--proj-size", self.proj_size, 0, self.hidden_size - 1)
        _check_range("--max-word-length", self.max_word_length, 1, 1 << 20)
        _check_range("--part-rows", self.part_rows, 1, 1 << 24)
        if self.embedding_size is not None:
            _check_range("--embedding-size", self.embedding_size, 1, _MAX_HIDDEN_SIZE)
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise CorpusError(f"--nonlinearity is for the rnn cell; {self.cell} has its own; leave it out")
        if self.cell != "lstm" and self.proj_size:
            raise CorpusError(f"--proj-size is for the lstm cell; {self.cell} has none; leave it out")
        self._check_spectral_radius()
        self._check_alphabet()
        self._check_vectors()

    def _check_spectral_radius(self) -> None:
        radius = self.spectral_radius
        if radius is None:
            return
        if not 0 < radius <= _MAX_SPECTRAL_RADIUS:
            raise CorpusError(
                f"--spectral-radius is {radius:g}; it must be above 0 and up to {_MAX_SPECTRAL_RADIUS:g}"
            )
        if self.proj_size:
            raise CorpusError(
                "--spectral-radius is for square recurrent matrices, and with --proj-size they are not "
                "square; leave one of them out"
            )

    def _check_alphabet(self) -> None:
        letters = self.alphabet
        if letters is None:
            return
        repeated = next((letter for at, letter in enumerate(letters) if letter in letters[:at]), None)
        if not letters or repeated is not None:
            fault = "is empty" if repeated is None else f"has {repeated!r} more than once"
            raise CorpusError(f"--alphabet {fault}; name each letter once, or leave it out to derive it")

    def _check_vectors(self) -> None:
        if self.vectors is None:
            if self.unknown_word != "error":
                raise CorpusError("--unknown-word is for --vectors; leave it out")
            return
        if self.alphabet is not None or self.embedding_size is not None:
            other = "--embedding-size" if self.alphabet is None else "--alphabet"
            raise CorpusError(f"{other} is for letters, and with --vectors symbols are words; leave one out")
        if not all(self.vectors.partition("=")):
            raise CorpusError(
                f"--vectors is {self.vectors!r}; give NAME=FILE, such as glove=glove.6B.50d.txt"
            )


def parse_seeds(text: str) -> tuple[int, ...]:
    """Returns the seeds in the order given.

    >>> parse_seeds("0-3,17")
    (0, 1, 2, 3, 17)

    Raises:
        CorpusError: The text is not a list of numbers and ranges, repeats a seed, or has too many.
    """
    seeds: list[int] = []
    for item in text.split(","):
        found = _SEEDS.fullmatch(item.strip())
        if found is None:
            raise CorpusError(f"--seeds has {item!r}; give numbers and ranges, such as 0-9,17")
        first, last = int(found[1]), int(found[2] or found[1])
        if not _MIN_SEED <= first <= last <= _MAX_SEED:
            raise CorpusError(
                f"--seeds has {item!r}; a range runs upwards, and seeds are from -2**63 to 2**64 - 1, as for "
                "torch.manual_seed"
            )
        if last - first >= _MAX_SEEDS or len(seeds) + last - first >= _MAX_SEEDS:
            raise CorpusError(f"--seeds names more than {_MAX_SEEDS:,} seeds; run several jobs")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        repeated = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise CorpusError(f"--seeds names {repeated} twice; each seed is a column, so name it once")
    return tuple(seeds)


def seed_column(seed: int) -> str:
    """Returns the name of a seed's column in the output."""
    return f"seed_{seed}"


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise CorpusError(f"{name} is {value}; it must be from {lowest} to {highest:,}")
