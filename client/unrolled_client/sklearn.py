"""A scikit-learn transformer that turns texts into vectors by an untrained recurrent network."""

# ruff: noqa: N803 - X is scikit-learn's name
import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from unrolled.entry_points import describe_missing
from unrolled.text import tokenize

from unrolled_client._messages.arguments import as_choice
from unrolled_client._messages.words import as_words
from unrolled_client._transport.word_vectors import VectorSource
from unrolled_client.client import Client
from unrolled_client.network import Cell, Network, Nonlinearity, OnEmpty, UnknownSymbol, UnknownWord
from unrolled_client.results import Result

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
    from sklearn.utils.validation import check_is_fitted, validate_data
except ModuleNotFoundError as error:
    message = f"unrolled_client.sklearn {describe_missing('sklearn')}"
    raise ModuleNotFoundError(message, name=error.name) from None

__all__ = ["RecurrentVectorizer"]

_OPTIONS = {"hidden_size", "seed", "progress", *Network._fields} - {"return_final_state"}
_MAX_CLIENTS = 4  # each may use the 1,024 MiB that `Client.local` has for states
_LOCAL_TABLE = "vectors"  # the name of the only table of a client in this process
_POOLED = ("last", "mean", "max")


class RecurrentVectorizer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Turns each text into one vector: the states of a random recurrent network, pooled.

    The network is the one that `torch.manual_seed(seed)` draws; nothing is trained, and `fit` learns only
    the alphabet. The vectors are those of `Client.forward`, bit for bit. `fit` and `transform` take a list,
    array, Series or other column of str, or a table of one column.

    Texts of any kind pass: unlike those of `Client.forward`, the defaults feed letters and words that are
    unknown as the zero vector (as OneHotEncoder's handle_unknown="ignore"), make texts without symbols
    zeros, and cut long texts at the server's limit. So no fold of a cross-validation fails. Missing texts
    are an error.

    Args:
        hidden_size: Units of the hidden state.
        seed: As for `torch.manual_seed`.
        cell: "rnn", "lstm" or "gru".
        nonlinearity, num_layers, bidirectional, bias, proj_size: As in torch; see `Client.forward`.
        spectral_radius, leak_rate, input_scaling, density: For echo-state networks; see `Client.forward`.
        embedding_size: Size of a random embedding of the letters. None feeds one-hot letters.
        word_embedding_size: Size of random word vectors. The network then reads words, not letters.
        alphabet: The letters that the network knows, or the name of an alphabet such as "ascii". None
            learns those of the training texts, sorted by code point, so that the order of the texts does
            not matter.
        vectors: Word vectors: what `Client.local` takes as one of its `vectors`, such as the path of a file
            or (words, matrix); with `target` the name of the server's table. The network then reads words.
            Clones share vectors in memory, which must not change; worker processes get copies.
        unknown_word: What a word without a vector gets: "zero", "mean" or "error"; with `vectors` only.
        unknown_symbol: What happens to an unknown letter: "zero", "skip" or "error"; with letters only.
        on_empty: What happens to a text without symbols: "zero" or "error".
        truncate: Whether longer texts than the server allows are cut, else an error.
        tokenizer: Function from a text to a str, or to a list of str, which blanks then join. None is
            `unrolled_client.tokenize` for words, and leaves letters as they are; `str.split` splits only.
        output: Each unit's "max" or "mean" over the text, or its "last" state, which has forgotten the start.
        target: HOST:PORT of a server. None computes in this process (extra `local`).
        progress: Shows a bar for large calls on standard error if that is a terminal; needs rich.

    Attributes:
        alphabet_: The letters that the network knows; "" if it reads words.
        n_features_out_: The size of a vector.
        feature_names_in_: The column's name, if X was a DataFrame.

    >>> texts = ["some training texts", "one more", ""]
    >>> RecurrentVectorizer(hidden_size=16).fit_transform(texts).shape
    (3, 16)
    """

    def __init__(  # noqa: PLR0913 - scikit-learn's way
        self,
        *,
        hidden_size: int = 256,
        seed: int = 0,
        cell: Cell = "rnn",
        nonlinearity: Nonlinearity = "tanh",
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
        proj_size: int = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        alphabet: str | None = None,
        vectors: VectorSource | None = None,
        unknown_word: UnknownWord = "zero",
        unknown_symbol: UnknownSymbol = "zero",
        on_empty: OnEmpty = "zero",
        truncate: bool = True,
        tokenizer: Callable[[str], str | list[str]] | None = None,
        output: Literal["last", "mean", "max"] = "max",
        target: str | None = None,
        progress: bool = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.seed = seed
        self.cell = cell
        self.nonlinearity = nonlinearity
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.bias = bias
        self.proj_size = proj_size
        self.spectral_radius = spectral_radius
        self.leak_rate = leak_rate
        self.input_scaling = input_scaling
        self.density = density
        self.embedding_size = embedding_size
        self.word_embedding_size = word_embedding_size
        self.alphabet = alphabet
        self.vectors = vectors
        self.unknown_word = unknown_word
        self.unknown_symbol = unknown_symbol
        self.on_empty = on_empty
        self.truncate = truncate
        self.tokenizer = tokenizer
        self.output = output
        self.target = target
        self.progress = progress

    def fit(self, X: Iterable[str], y: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Learns the alphabet, and checks the parameters by running the first text.

        Raises:
            TypeError: A text is not a str, or a parameter has the wrong type.
            ValueError: X is empty, one str or a table of several columns, or a parameter is wrong.
            UnrolledError: See `Client`.
        """
        as_choice("output", self.output, choices=_POOLED)
        texts = self._texts(X, is_fitting=True)
        if not texts:
            raise ValueError("X has no texts; fit needs at least one")
        alphabet = self.alphabet
        if not (alphabet or self._reads_words):
            alphabet = "".join(sorted(set().union(*texts)))
            if not alphabet:
                raise ValueError("X has no letters to learn an alphabet from; set alphabet, such as 'ascii'")
        result = self._forward(texts[:1], alphabet)
        self.alphabet_ = result.alphabet
        self.n_features_out_ = self._n_features_out = result.outputs.shape[-1]
        return self

    def transform(self, X: Iterable[str]) -> NDArray[np.float32]:
        """Returns the texts' vectors, (texts, n_features_out_).

        Raises:
            NotFittedError: `fit` was not called.
            TypeError, ValueError, UnrolledError: See `fit`.
        """
        check_is_fitted(self)
        texts = self._texts(X, is_fitting=False)
        if not texts:
            return np.empty((0, self.n_features_out_), np.float32)
        return self._forward(texts, self.alphabet_).outputs

    def fit_transform(self, X: Iterable[str], y: object = None) -> NDArray[np.float32]:
        """Does both; X may be a generator."""
        vectors: NDArray[np.float32] = super().fit_transform(list(X) if isinstance(X, Iterator) else X, y)
        return vectors

    @property
    def _reads_words(self) -> bool:
        return self.vectors is not None or self.word_embedding_size is not None

    def _texts(self, X: Any, *, is_fitting: bool) -> list[str]:
        """Returns the tokenized texts of a column."""
        column = _as_column(X)
        # Stores or compares the name of a DataFrame's column.
        validate_data(self, X, reset=is_fitting, skip_check_array=True, ensure_2d=False)
        texts = as_words(column, name="X")
        tokenizer = self.tokenizer or (tokenize if self._reads_words else None)
        if tokenizer is None:
            return texts
        return [_joined(tokenizer(text), at=at) for at, text in enumerate(texts)]

    def _forward(self, texts: list[str], alphabet: str | None) -> Result:
        """Returns the result of `Client.forward`."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        if self._reads_words:
            del options["unknown_symbol"]
        if self.vectors is None:
            del options["unknown_word"]
        if self.target is not None:
            client = _remote_client(self.target)
        elif self.vectors is None:
            client = _local_client(None)
        else:
            client = _local_client(_Table(self.vectors))
            options["vectors"] = _LOCAL_TABLE
        return client.forward(texts, alphabet=alphabet, **options)

    def __sklearn_clone__(self) -> Self:
        """Returns an unfitted copy that shares the word vectors, which `clone` alone would copy."""
        bare = copy.copy(self).set_params(vectors=None)
        cloned: Self = super(RecurrentVectorizer, bare).__sklearn_clone__()
        cloned.vectors = self.vectors
        return cloned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


def _joined(tokens: object, *, at: int) -> str:
    """Returns what the tokenizer made of the text X[at], as a str."""
    if isinstance(tokens, str):
        return tokens
    try:
        return " ".join(tokens)  # type: ignore[arg-type]  # raises for others
    except TypeError:
        raise TypeError(
            f"tokenizer returned {tokens!r:.80} ({type(tokens).__name__}) for X[{at}]; it returns a str or a "
            "list of str"
        ) from None


def _as_column(X: Any) -> Any:
    """Returns the only column of a table, and anything else that is not one str as it is."""
    if isinstance(X, str):
        raise ValueError("Iterable over raw text documents expected, string object received.")  # noqa: TRY004
    if hasattr(X, "toarray"):  # of scipy.sparse
        raise TypeError("X is a sparse matrix of numbers; give a column of texts")
    shape: tuple[int, ...] = getattr(X, "shape", ())
    if len(shape) < 2:  # noqa: PLR2004
        return X
    if shape[1] != 1:
        raise ValueError(
            f"X has {shape[1]} columns; select the one with the texts, or use a ColumnTransformer with a "
            "RecurrentVectorizer for each"
        )
    return np.asarray(X)[:, 0]


class _Table:
    """Word vectors, equal to others that are the same file or objects, whose contents are not compared."""

    def __init__(self, vectors: VectorSource) -> None:
        self.vectors = vectors
        if isinstance(vectors, str | os.PathLike):
            path = Path(vectors).expanduser()
            files = path, path.parent / f"{path.stem}.txt"  # the second has the words of a .npy file
            changed_ns = (file.stat().st_mtime_ns for file in files if file.exists())
            self._key: tuple[object, ...] = (path.absolute(), *changed_ns)
        else:  # (words, matrix) or another object
            self._key = tuple(map(id, vectors if isinstance(vectors, tuple) else (vectors,)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Table) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


# The estimators of a process share clients, because one in process takes 0.2 s and memory. A client that the
# cache drops ends with its last call. There is no deadline, because a large network takes long.
@lru_cache(maxsize=_MAX_CLIENTS)
def _local_client(table: _Table | None) -> Client:
    vectors = None if table is None else {_LOCAL_TABLE: table.vectors}
    return Client.local(timeout_s=math.inf, vectors=vectors)


@lru_cache(maxsize=_MAX_CLIENTS)
def _remote_client(target: str) -> Client:
    return Client(target)
