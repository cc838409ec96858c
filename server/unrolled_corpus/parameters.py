"""The options that decide what a job computes, by the SDK's names; imports neither Ray nor the engine."""

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

import typer
from unrolled.text import ALPHABETS

from unrolled_corpus.errors import CorpusError

ROW_COLUMN = "row"
"""The output's column of row numbers with ``--on-empty skip``."""

_MAX_HIDDEN_SIZE = 65_536
_MAX_LAYERS = 16
_MAX_FACTORS = {"spectral_radius": 1e3, "leak_rate": 1.0, "input_scaling": 1e3, "density": 1.0}
"""The largest value of each number that must be above 0."""
_SEEDS = re.compile(r"(-?\d{1,20})(?:-(-?\d{1,20}))?")
_MAX_SEEDS = 1_000
_MIN_SEED, _MAX_SEED = -(2**63), 2**64 - 1  # as for torch.manual_seed

_corpus = partial(typer.Option, rich_help_panel="Corpus")
_network = partial(typer.Option, rich_help_panel="Network")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """The SDK's `NetworkOptions` and what only a corpus needs; the manifest keeps them."""

    part_rows: Annotated[int, _corpus(metavar="ROWS", help="Rows of each file of the output.")] = 50_000
    max_word_length: Annotated[
        int,
        _corpus(metavar="SYMBOLS", help="Largest length of a text; see --truncate."),
    ] = 1_024
    truncate: Annotated[
        bool, _corpus("--truncate", help="Cut texts that are too long, instead of ending the job.")
    ] = False
    tokenize: Annotated[
        bool,
        _corpus("--tokenize", help="Put sentences in lower case and set punctuation marks apart as words."),
    ] = False
    on_empty: Annotated[
        Literal["error", "skip", "zero"],
        _corpus(
            help="What to do with rows whose text is null or has no symbols: end the job (error), leave them "
            "out and number the others in a column (skip), or write zeros (zero)."
        ),
    ] = "error"
    hidden_size: Annotated[int, _network(metavar="UNITS", help="Units of the hidden state.")]
    seeds: Annotated[
        str,
        _network(
            metavar="SEEDS", help="Seeds as for torch.manual_seed, such as 7 or 0-9,17; one column each."
        ),
    ] = "0"
    output: Annotated[
        Literal["all", "last", "mean", "max"],
        _network(
            help="All states of a text, or one vector. With --bidirectional, the backward half of last has "
            "read only one symbol; mean and max have read all."
        ),
    ] = "last"
    cell: Annotated[Literal["rnn", "lstm", "gru"], _network(help="Kind of network, as in torch.nn.")] = "rnn"
    nonlinearity: Annotated[Literal["tanh", "relu"], _network(help="Activation of the rnn cell.")] = "tanh"
    num_layers: Annotated[int, _network(metavar="LAYERS", help="Number of stacked layers.")] = 1
    bidirectional: Annotated[bool, _network(help="Run the layers backwards, too.")] = False
    bias: Annotated[bool, _network(help="Give the layers biases.")] = True
    proj_size: Annotated[
        int, _network(metavar="UNITS", help="Size of an lstm's projected state; 0 for no projection.")
    ] = 0
    spectral_radius: Annotated[
        float | None,
        _network(
            metavar="RADIUS", help="Scale recurrent matrices to this spectral radius.  [default: as drawn]"
        ),
    ] = None
    leak_rate: Annotated[
        float, _network(metavar="RATE", help="Leaky integration of the rnn cell, up to 1.")
    ] = 1.0
    input_scaling: Annotated[
        float, _network(metavar="FACTOR", help="Multiply the input weights of the rnn cell by this.")
    ] = 1.0
    density: Annotated[
        float, _network(metavar="FRACTION", help="Fraction of the rnn cell's recurrent weights to keep.")
    ] = 1.0
    alphabet: Annotated[
        str | None,
        _network(
            metavar="LETTERS",
            help=f"Letters in one-hot order, or the name of some: {', '.join(ALPHABETS)}.  [default: those "
            "of the corpus, by first appearance]",
        ),
    ] = None
    unknown_symbol: Annotated[
        Literal["error", "skip", "zero"],
        _network(
            help="What to do with a letter that is not in --alphabet: end the job, leave it out, or feed "
            "zeros."
        ),
    ] = "error"
    embedding_size: Annotated[
        int | None,
        _network(metavar="UNITS", help="Size of a random embedding of letters.  [default: one-hot letters]"),
    ] = None
    word_embedding_size: Annotated[
        int | None,
        _network(metavar="UNITS", help="Run along the words of sentences, with random vectors of this size."),
    ] = None
    vectors: Annotated[
        str | None,
        _network(
            metavar="NAME=FILE", help="Run along the words of sentences, with the word vectors in FILE."
        ),
    ] = None
    unknown_word: Annotated[
        Literal["error", "zero", "mean"],
        _network(
            help="What to do with a word that has no vector: end the job, or use zeros or the mean vector."
        ),
    ] = "error"

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The seeds, in the order given."""
        return parse_seeds(self.seeds)

    @property
    def width(self) -> int:
        """The numbers of one state of the last layer."""
        return (self.proj_size or self.hidden_size) << self.bidirectional

    @property
    def is_pooled(self) -> bool:
        """Whether a text has one vector instead of all states."""
        return self.output != "all"

    @property
    def reads_sentences(self) -> bool:
        """Whether texts are sentences, whose symbols are words."""
        return self.vectors is not None or self.word_embedding_size is not None

    @property
    def derives_alphabet(self) -> bool:
        """Whether the alphabet is the letters of the corpus."""
        return self.alphabet is None and not self.reads_sentences

    def check(self) -> None:
        """Raises a `CorpusError` if a value is out of range or excludes another."""
        _check_range("--hidden-size", self.hidden_size, 1, _MAX_HIDDEN_SIZE)
        _check_range("--num-layers", self.num_layers, 1, _MAX_LAYERS)
        _check_range("--proj-size", self.proj_size, 0, self.hidden_size - 1)
        _check_range("--max-word-length", self.max_word_length, 1, 1 << 20)
        _check_range("--part-rows", self.part_rows, 1, 1 << 24)
        for size in ("embedding_size", "word_embedding_size"):
            if (value := getattr(self, size)) is not None:
                _check_range(_flag(size), value, 1, _MAX_HIDDEN_SIZE)
        if self.cell != "rnn" and self.nonlinearity != "tanh":
            raise CorpusError(f"--nonlinearity is for the rnn cell; {self.cell} has its own; leave it out")
        if self.cell != "lstm" and self.proj_size:
            raise CorpusError(f"--proj-size is for the lstm cell; {self.cell} has none; leave it out")
        self._check_factors()
        self._check_alphabet()
        if self.vectors is None and self.unknown_word != "error":
            raise CorpusError("--unknown-word is for --vectors; leave it out")
        if self.reads_sentences:
            self._check_sentences()
        else:
            self._check_letters()

    def _check_factors(self) -> None:
        for name, highest in _MAX_FACTORS.items():
            value = getattr(self, name)
            if value is not None and not 0 < value <= highest:
                raise CorpusError(f"{_flag(name)} is {value:g}; it must be above 0 and up to {highest:g}")
            if self.cell != "rnn" and name != "spectral_radius" and value != 1:
                raise CorpusError(f"{_flag(name)} is for the rnn cell; --cell is {self.cell}; leave one out")
        if self.spectral_radius is not None and self.proj_size:
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

    def _check_letters(self) -> None:
        if self.tokenize:
            raise CorpusError(
                "--tokenize is for sentences; give --vectors or --word-embedding-size to run along their "
                "words, or leave it out"
            )
        if self.unknown_symbol != "error" and self.alphabet is None:
            raise CorpusError(
                f"--unknown-symbol is {self.unknown_symbol}, and without --alphabet all letters of the "
                "corpus are known; give --alphabet, such as ascii, or leave it out"
            )

    def _check_sentences(self) -> None:
        source = "--word-embedding-size" if self.vectors is None else "--vectors"
        for name, default in (("alphabet", None), ("embedding_size", None), ("unknown_symbol", "error")):
            if getattr(self, name) != default:
                raise CorpusError(
                    f"{_flag(name)} is for letters, and with {source} symbols are words; leave one out"
                )
        if self.vectors is None:
            return
        if self.word_embedding_size is not None:
            raise CorpusError("--vectors and --word-embedding-size both give words vectors; leave one out")
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


def _flag(name: str) -> str:
    """Returns the option of a parameter."""
    return f"--{name.replace('_', '-')}"


def _check_range(name: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise CorpusError(f"{name} is {value}; it must be from {lowest} to {highest:,}")
