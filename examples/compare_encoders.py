"""Compares random recurrent networks with bags of letters and words, and prints a table for each data set.

All rows have the same readout. `make examples-table` runs it; docs/background/untrained-encoders.md has the
results and their limits.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
from labelled_texts import LabelledTexts, read_names, read_reviews, read_vectors
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from unrolled.text import tokenize
from unrolled_client.sklearn import RecurrentVectorizer

HELD_OUT = 0.2
# Candidate inverse regularization strengths, for rows of length 1 (all inputs here have length 1).
STRENGTHS = [1.0, 10.0, 100.0]
# The options of each kind of network; of several candidates, a run chooses one on its training part.
NETWORKS: dict[str, Sequence[dict[str, Any]]] = {
    "no memory": [{"spectral_radius": 1e-6}],  # random projections of single symbols
    "random RNN": [{}],
    "random BiLSTM": [{"cell": "lstm"}],
    "echo-state network": [
        {"spectral_radius": 0.9, "density": 0.1, "leak_rate": leak} for leak in (0.3, 0.6)
    ],
}

Encoder = Callable[[int], Sequence[Any]]
"""Makes the transformers for a seed: one, or candidates to choose from."""


class Score(NamedTuple):
    """The result of one readout; `chosen_by` is its accuracy on the part that chooses."""

    chosen_by: float
    accuracy: float
    feature_count: int
    encode_s: float
    readout_s: float


def words(text: str) -> list[str]:
    """Returns the words and punctuation marks of a text."""
    return tokenize(text).split()


def endings(name: str) -> list[str]:
    """Returns the last letter of a name, the last two and the last three."""
    return [name[-size:] for size in (1, 2, 3)]


def mean_vectors(texts: Sequence[str], *, table: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the mean of each text's word vectors, (texts, size); words without a vector count as zeros."""
    zero = np.zeros_like(next(iter(table.values())))
    return np.stack([np.mean([table.get(word, zero) for word in words(text)], axis=0) for text in texts])


def standardize(encoder: Any) -> Pipeline:
    """Brings an encoder's dense features to one scale, and each row to length 1, which tf-idf has already."""
    return make_pipeline(encoder, StandardScaler(), Normalizer())


def networks(hidden_sizes: Sequence[int], **options: Any) -> Iterator[tuple[str, Encoder]]:
    """Yields bidirectional networks of each kind and size, with each unit's maximum."""

    def encoders(hidden_size: int, candidates: Sequence[dict[str, Any]], seed: int) -> list[Any]:
        shared = {"hidden_size": hidden_size, "seed": seed, "bidirectional": True, "output": "max", **options}
        return [standardize(RecurrentVectorizer(**shared, **candidate)) for candidate in candidates]

    for hidden_size in hidden_sizes:
        for name, candidates in NETWORKS.items():
            yield f"{name}, 2 x {hidden_size}", partial(encoders, hidden_size, candidates)


def name_encoders(hidden_sizes: Sequence[int]) -> Iterator[tuple[str, Encoder]]:
    """Yields the rows of the table of names."""
    yield "bag of letters, tf-idf", lambda _: [TfidfVectorizer(analyzer="char")]
    yield "bag of 1 to 3 letters, tf-idf", lambda _: [TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3))]
    yield "last 1 to 3 letters, tf-idf", lambda _: [TfidfVectorizer(analyzer=endings)]
    yield from networks(hidden_sizes)


def review_encoders(hidden_sizes: Sequence[int]) -> Iterator[tuple[str, Encoder]]:
    """Yields the rows of the table of reviews."""
    yield "bag of words, tf-idf", lambda _: [TfidfVectorizer(analyzer=words)]
    vectors = read_vectors()
    mean = FunctionTransformer(mean_vectors, kw_args={"table": dict(zip(*vectors, strict=True))})
    yield "mean of GloVe vectors", lambda _: [standardize(mean)]
    for name, encoder in networks(hidden_sizes, vectors=vectors):
        yield f"{name}, GloVe", encoder
    for name, encoder in networks(hidden_sizes[-1:], word_embedding_size=50):
        yield f"{name}, random vectors", encoder


def read_out(encoder: Any, data: LabelledTexts, *, seed: int) -> Score:
    """Fits an encoder and a logistic regression to the training part and tests them."""
    texts, test_texts, labels, test_labels = train_test_split(
        data.texts, data.labels, test_size=HELD_OUT, stratify=data.labels, random_state=seed
    )
    # Seconds of CPU time depend little on other work on the machine.
    started = time.process_time()
    inputs, test_inputs = encoder.fit_transform(texts), encoder.transform(test_texts)
    encoded = time.process_time()
    choice = StratifiedShuffleSplit(n_splits=1, test_size=HELD_OUT, random_state=seed)
    readout = GridSearchCV(LogisticRegression(max_iter=2000), {"C": STRENGTHS}, cv=choice).fit(inputs, labels)
    accuracy = readout.score(test_inputs, test_labels)
    done = time.process_time()
    return Score(readout.best_score_, accuracy, inputs.shape[1], encoded - started, done - encoded)


def print_table(data: LabelledTexts, rows: Iterator[tuple[str, Encoder]], *, run_count: int) -> None:
    """Prints a Markdown table, row by row: accuracies over the runs, and median CPU times of one network."""
    print("| features | number | accuracy, % | lowest, highest | encoding, CPU s | readout, CPU s |")
    print("|---|--:|--:|--:|--:|--:|", flush=True)
    for name, encoders in rows:
        scores = []
        for seed in range(run_count):
            candidates = [read_out(encoder, data, seed=seed) for encoder in encoders(seed)]
            scores.append(max(candidates, key=attrgetter("chosen_by")))
        accuracy = 100 * np.array([score.accuracy for score in scores])
        encode_s, readout_s = np.median([(score.encode_s, score.readout_s) for score in scores], axis=0)
        print(
            f"| {name} | {scores[0].feature_count:,} | {accuracy.mean():.1f} "
            f"| {accuracy.min():.1f} to {accuracy.max():.1f} | {encode_s:.1f} | {readout_s:.1f} |",
            flush=True,
        )


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--runs", type=int, default=5, help="run n has seed n, for its split and its network")
    options = parser.parse_args()
    for read, encoders in ((read_names, name_encoders), (read_reviews, review_encoders)):
        data = read()
        print(f"\n{data.describe()}.\n")
        print_table(data, encoders(options.hidden_sizes), run_count=options.runs)


if __name__ == "__main__":
    main()
