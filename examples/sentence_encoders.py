"""Compares untrained sentence encoders with bags of words, like Wieting and Kiela (2019).

An untrained recurrent network runs over a sentence's word vectors in both directions; the largest value of
each unit is a feature, and only a linear readout is trained. `make examples` runs it; results and limits are
in docs/background/sentence-encoders.md.
"""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.box import MARKDOWN
from rich.console import Console
from rich.table import Table
from sentence_data import REVIEWS_PACKAGE, VECTORS_FILE, read_reviews, read_vectors
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits
from unrolled_client import Client

NETWORKS: dict[str, dict[str, Any]] = {
    "random BiLSTM": {"cell": "lstm"},
    "echo-state network, radius 0.4": {"cell": "rnn", "spectral_radius": 0.4},
    "echo-state network, radius 1.0": {"cell": "rnn", "spectral_radius": 1.0},
}
HELD_OUT = 0.2
# Candidate inverse regularisation strengths, for rows of length 1 (all inputs here have length 1).
STRENGTHS = (0.1, 0.5, 2.0, 10.0)


class Split(NamedTuple):
    """Row numbers of sentences: `fit` and `choose` are the training part; `test` is used once."""

    fit: np.ndarray
    choose: np.ndarray
    test: np.ndarray


class Score(NamedTuple):
    """The result of one readout."""

    accuracy: float
    feature_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One way to turn sentences into features.

    Attributes:
        name: Row title in the table.
        inputs: The readout's input for each run, one row per sentence.
        prepare: Makes the steps before the classifier, which are fit on training rows only.
        encode_s: Seconds to make the inputs of one run.
    """

    name: str
    inputs: Sequence[np.ndarray]
    prepare: Callable[[], Any]
    encode_s: float = 0.0


def split_rows(labels: np.ndarray, *, seed: int) -> Split:
    """Holds out a fifth for the test and a fifth of the rest to choose a regularisation; both stratified."""

    def divide(rows: np.ndarray) -> list[np.ndarray]:
        return train_test_split(rows, test_size=HELD_OUT, stratify=labels[rows], random_state=seed)

    training, test = divide(np.arange(len(labels)))
    fit, choose = divide(training)
    return Split(fit, choose, test)


def read_out(method: Method, run: int, *, labels: np.ndarray, split: Split) -> Score:
    """Fits a logistic regression, its strength chosen within the training part, and tests it."""
    inputs = method.inputs[run]

    def judge(strengths: Sequence[float], learnt: np.ndarray, judged: np.ndarray) -> list[Score]:
        steps = method.prepare()
        known, unknown = steps.fit_transform(inputs[learnt]), steps.transform(inputs[judged])
        readouts = [LogisticRegression(C=strength, max_iter=1000) for strength in strengths]
        accuracies = [
            readout.fit(known, labels[learnt]).score(unknown, labels[judged]) for readout in readouts
        ]
        return [Score(accuracy, known.shape[1]) for accuracy in accuracies]

    chosen = np.argmax([score.accuracy for score in judge(STRENGTHS, split.fit, split.choose)])
    (score,) = judge([STRENGTHS[chosen]], np.concatenate([split.fit, split.choose]), split.test)
    return score


def guess(labels: np.ndarray, split: Split) -> Score:
    """Returns the accuracy of always predicting the most frequent training label."""
    commoner = labels[split.fit].mean() > 1 / 2
    return Score(float((labels[split.test] == commoner).mean()), 0)


def standardise() -> Pipeline:
    """Brings dense features to one scale and each row to length 1."""
    return make_pipeline(StandardScaler(), Normalizer())


def letters() -> Pipeline:
    """Counts each character of the training sentences."""
    counts = CountVectorizer(analyzer="char")
    return make_pipeline(counts, StandardScaler(with_mean=False), Normalizer())


def words() -> TfidfVectorizer:
    """Weights the words of the training sentences by tf-idf."""
    return TfidfVectorizer(analyzer=str.split)


def vector_bags(sentences: np.ndarray, *, file: Path, size: int, run_count: int) -> Iterator[Method]:
    """Yields methods that ignore word order: the mean, and the maximum of random projections (BOREP)."""
    vocabulary = {word: row for row, word in enumerate(sorted(set(" ".join(sentences).split())))}
    table = read_vectors(file, vocabulary=vocabulary)
    rows = [[vocabulary[word] for word in sentence.split()] for sentence in sentences]

    started = time.perf_counter()
    mean = np.stack([table[row].mean(axis=0) for row in rows])
    encode_s = time.perf_counter() - started
    yield Method(
        name="mean of word vectors", inputs=[mean] * run_count, prepare=standardise, encode_s=encode_s
    )

    def project(seed: int) -> np.ndarray:
        bound = table.shape[1] ** -0.5
        weights = np.random.default_rng(seed).uniform(-bound, bound, (table.shape[1], size))
        projected = table @ weights.astype(np.float32)
        return np.stack([projected[row].max(axis=0) for row in rows])

    started = time.perf_counter()
    inputs = [project(seed) for seed in range(run_count)]
    encode_s = (time.perf_counter() - started) / run_count
    yield Method(name="random projections (BOREP)", inputs=inputs, prepare=standardise, encode_s=encode_s)


def recurrent(client: Client, sentences: np.ndarray, *, hidden_size: int, run_count: int) -> Iterator[Method]:
    """Yields untrained networks over word vectors, with each unit's maximum; a run's number is its seed."""
    for name, options in NETWORKS.items():
        started = time.perf_counter()
        results = client.sweep(
            sentences.tolist(),
            seeds=range(run_count),
            hidden_sizes=[hidden_size],
            bidirectional=True,
            vectors="glove",
            unknown_word="zero",
            output="max",
            **options,
        )
        inputs = [result.outputs for result in results]
        encode_s = (time.perf_counter() - started) / run_count
        yield Method(
            name=f"{name}, 2 x {hidden_size}",
            inputs=inputs,
            prepare=standardise,
            encode_s=encode_s,
        )


def all_methods(
    data: Path, *, sentences: np.ndarray, hidden_sizes: list[int], run_count: int
) -> Iterator[Method]:
    """Yields the methods of the table one by one, because the arrays of the widest take 200 MB."""
    yield Method(name="bag of letters", inputs=[sentences] * run_count, prepare=letters)
    yield Method(name="bag of words, tf-idf", inputs=[sentences] * run_count, prepare=words)
    file = data / VECTORS_FILE
    yield from vector_bags(sentences, file=file, size=2 * max(hidden_sizes), run_count=run_count)
    # The first start converts the file once, which may take a minute on a slow machine.
    settings = {"vectors": f"glove={file}", "vectors_cache": data, "compute_threads": 2}
    with Client.local(**settings) as client:
        for hidden_size in hidden_sizes:
            yield from recurrent(client, sentences, hidden_size=hidden_size, run_count=run_count)


def cells(scores: Sequence[Score]) -> list[str]:
    """Returns the number of features, the accuracy's mean and standard deviation, and its range."""
    percent = 100 * np.array([score.accuracy for score in scores])
    spread = percent.std(ddof=1) if len(percent) > 1 else 0.0
    return [
        f"{scores[0].feature_count:,}",
        f"{percent.mean():.1f} ± {spread:.1f}",
        f"{percent.min():.1f} to {percent.max():.1f}",
    ]


def report(methods: Iterable[Method], *, labels: np.ndarray, splits: Sequence[Split]) -> Table:
    """Evaluates every method in every run; returns the table."""
    table = Table("sentence features", box=MARKDOWN)
    for heading in ("features", "accuracy, %", "lowest, highest", "encoding, s", "readout, s"):
        table.add_column(heading, justify="right")
    table.add_row("none: the commoner label", *cells([guess(labels, split) for split in splits]), "", "")
    for method in methods:
        started = time.perf_counter()
        scores = [read_out(method, run, labels=labels, split=split) for run, split in enumerate(splits)]
        readout_s = (time.perf_counter() - started) / len(splits)
        table.add_row(method.name, *cells(scores), f"{method.encode_s:.1f}", f"{readout_s:.1f}")
    return table


def main() -> None:
    """Prints the table as Markdown, and how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with the reviews' package and the vectors' file")
    parser.add_argument("--hidden-sizes", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--runs", type=int, default=5, help="run n has seed n, for its split and its network")
    parser.add_argument(
        "--same-split", action="store_true", help="split all runs alike, to show the spread of the networks"
    )
    options = parser.parse_args()

    started = time.perf_counter()
    sentences, labels = read_reviews(options.data / REVIEWS_PACKAGE)
    splits = [split_rows(labels, seed=0 if options.same_split else run) for run in range(options.runs)]
    methods = all_methods(
        options.data, sentences=sentences, hidden_sizes=options.hidden_sizes, run_count=options.runs
    )
    # With other work on two cores, two BLAS threads wait for each other: six times as slow, measured.
    with threadpool_limits(1):
        table = report(methods, labels=labels, splits=splits)
    Console(width=max(Console().width, 120)).print(table)
    print(f"{len(labels):,} sentences, {options.runs} runs, {time.perf_counter() - started:.0f} s in all.")


if __name__ == "__main__":
    main()
