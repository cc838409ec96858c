"""RecurrentVectorizer as an estimator of scikit-learn: pipelines, searches, copies, shared clients."""

import copy
import doctest
import pickle
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils import estimator_checks, get_tags
from sklearn.utils.validation import check_is_fitted
from unrolled.entry_points import EXTRAS
from unrolled_client import Client, InvalidRequestError, tokenize
from unrolled_client import sklearn as module
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.integration.client.test_sklearn import TEXTS, vectorizer

LABELS = [0, 1, 0, 1, 0, 1]
WORDS = ("a", "film", "did", "n't", "work", "!")
MATRIX = np.random.RandomState(0).normal(size=(6, 5)).astype(np.float32)
FORKED = """
import os, sys
from unrolled_client.sklearn import RecurrentVectorizer

made = RecurrentVectorizer(hidden_size=8)
expected = made.fit_transform(["a text"])
child = os.fork()
assert (made.transform(["a text"]) == expected).all()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(params=["in process", "server"])
def target(request, server_address):
    """A parameter for each of the two ways to compute."""
    return None if request.param == "in process" else server_address


@pytest.fixture
def vectors_file(tmp_path):
    file = tmp_path / "tiny.txt"
    rows = zip(WORDS, MATRIX, strict=True)
    file.write_text("".join(f"{word} {' '.join(map(repr, row.tolist()))}\n" for word, row in rows))
    return file


# In scikit-learn


def test_features_have_names_and_pandas_keeps_the_index():
    made = vectorizer(hidden_size=2).set_output(transform="pandas")
    frame = pd.DataFrame({"text": ["ab", "b"]}, index=["x", "y"])
    shown = made.fit_transform(frame)
    assert shown.columns.tolist() == ["recurrentvectorizer0", "recurrentvectorizer1"]
    assert shown.index.tolist() == ["x", "y"]
    assert made.transform(frame.iloc[1:]).index.tolist() == ["y"]
    assert made.fit_transform(frame["text"]).index.tolist() == ["x", "y"]
    assert clone(made).fit_transform(["ab"]).shape == (1, 2)
    assert made.get_feature_names_out().tolist() == shown.columns.tolist()


def test_names_of_columns_are_checked_as_scikit_learn_does():
    fitted = vectorizer().fit(pd.DataFrame({"text": ["a"]}))
    assert fitted.feature_names_in_.tolist() == ["text"]
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.transform(pd.DataFrame({"title": ["a"]}))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.transform(["a"])
    assert not hasattr(fitted.fit(["a"]), "feature_names_in_")


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda one: pickle.loads(pickle.dumps(one))])
def test_copies_give_the_same_vectors(target, duplicate):
    fitted = vectorizer(target=target).fit(TEXTS)
    assert np.array_equal(duplicate(fitted).transform(TEXTS), fitted.transform(TEXTS))


def test_joblib_stores_a_pipeline(tmp_path):
    pipeline = make_pipeline(vectorizer(), LogisticRegression()).fit(TEXTS, LABELS)
    joblib.dump(pipeline, tmp_path / "pipeline")
    loaded = joblib.load(tmp_path / "pipeline")
    assert np.array_equal(loaded.predict_proba(TEXTS), pipeline.predict_proba(TEXTS))


def test_a_clone_is_not_fitted_and_has_the_parameters():
    fitted = vectorizer(seed=3, tokenizer=str.lower).fit(TEXTS)
    cloned = clone(fitted)
    assert cloned.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        cloned.transform(TEXTS)
    check_is_fitted(fitted)


def test_unions_and_column_transformers_join_vectors():
    union = make_union(vectorizer(), vectorizer(seed=1, hidden_size=3))
    assert union.fit_transform(TEXTS).shape == (len(TEXTS), 11)

    frame = pd.DataFrame({"title": TEXTS, "text": TEXTS[::-1], "kind": list("aabbab")})
    columns = make_column_transformer((vectorizer(), "title"), (vectorizer(seed=1), ["text"]))
    columns.set_params(remainder=OneHotEncoder(sparse_output=False))
    made = columns.set_output(transform="pandas").fit_transform(frame)
    assert made.shape == (6, 18)
    assert made.columns[0] == "recurrentvectorizer-1__recurrentvectorizer0"
    assert np.array_equal(made.iloc[:, :8], vectorizer().fit_transform(TEXTS))
    with pytest.raises(ValueError, match="X has 2 columns"):
        ColumnTransformer([("texts", vectorizer(), ["title", "text"])]).fit(frame)


def test_cross_validation_meets_unseen_letters(target):
    texts = np.array(["good", "bad", "fine", "poor", "ok", "zzz", "日本", ""])
    pipeline = make_pipeline(vectorizer(target=target), LogisticRegression())
    assert np.isfinite(cross_val_score(pipeline, texts, [1, 0] * 4, cv=4, error_score="raise")).all()


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_a_grid_search_runs_in_two_threads_or_processes(backend):
    texts, labels = ["good", "bad", "fine", "poor", "ok", "zzz", "日本", ""], [1, 0] * 4
    pipeline = Pipeline([("vectors", vectorizer()), ("model", LogisticRegression())])
    grid = {"vectors__cell": ["rnn", "gru"], "vectors__seed": [0, 1]}

    def scores(n_jobs):
        search = GridSearchCV(pipeline, grid, cv=2, n_jobs=n_jobs, error_score="raise").fit(texts, labels)
        return search.cv_results_["mean_test_score"].tolist()

    expected = scores(n_jobs=None)
    try:
        with joblib.parallel_config(backend):
            assert scores(n_jobs=2) == expected
    finally:
        if backend == "loky":
            get_reusable_executor().shutdown(wait=True)


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_valid_tag_types,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_n_features_in_after_fitting,
        estimator_checks.check_mixin_order,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_set_params,
        estimator_checks.check_transformer_n_iter,
        estimator_checks.check_transformer_get_feature_names_out,
        estimator_checks.check_transformer_get_feature_names_out_pandas,
        estimator_checks.check_set_output_transform,
        estimator_checks.check_set_output_transform_pandas,
        estimator_checks.check_global_output_transform_pandas,
    ],
)
def test_checks_of_scikit_learn_that_need_no_numbers(check):
    check("RecurrentVectorizer", vectorizer())


def test_tags_describe_texts_in_and_float32_out():
    tags = get_tags(vectorizer())
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array
    assert tags.requires_fit
    assert tags.transformer_tags.preserves_dtype == ["float32"]


def test_fit_and_transform_change_nothing_else():
    """The claims of scikit-learn's checks that pass numbers, for texts."""
    texts = np.array(TEXTS, dtype=object)
    texts.flags.writeable = False
    made = vectorizer()
    parameters = made.get_params()
    assert made.fit(texts, LABELS) is made
    fitted = dict(vars(made))
    first = made.transform(texts)
    assert np.array_equal(first, made.fit_transform(texts, LABELS))
    assert np.array_equal(first, np.concatenate([made.transform([text]) for text in texts]))
    assert np.array_equal(first[::-1], made.transform(texts[::-1]))
    assert vars(made) == fitted
    assert made.get_params() == parameters
    assert set(vars(made)) - set(parameters) == {"alphabet_", "n_features_out_", "_n_features_out"}


def test_the_example_in_its_docstring_runs():
    assert doctest.testmod(module, raise_on_error=True).attempted


def test_a_notebook_shows_it():
    shown = make_pipeline(vectorizer(vectors=(list(WORDS), MATRIX)), LogisticRegression())._repr_html_()
    assert "RecurrentVectorizer" in shown
    assert repr(vectorizer(seed=3)) == "RecurrentVectorizer(hidden_size=8, seed=3)"


# Clients and word vectors


@pytest.fixture
def no_clients():
    """An empty cache of clients."""
    for cached in (module._local_client, module._remote_client):
        cached.cache_clear()
    return module._local_client.cache_info


def test_estimators_share_a_client(no_clients):
    for seed in range(5):
        clone(vectorizer(seed=seed)).fit_transform(TEXTS)
    assert no_clients().misses == 1


def test_a_client_beyond_the_caches_size_ends(no_clients, tmp_path):
    tables = [tmp_path / f"{at}.txt" for at in range(5)]
    for table in tables:
        table.write_text("film 1 2\n")
    first = weakref.ref(module._local_client(module._Table(tables[0])))
    made = vectorizer(vectors=tables[0]).fit(TEXTS)
    for table in tables[1:]:
        vectorizer(vectors=table).fit(TEXTS)
    assert no_clients().currsize == 4
    assert first() is None
    assert made.transform(TEXTS).any()


def test_threads_share_a_client():
    expected = vectorizer().fit_transform(TEXTS)
    begun = threading.Barrier(4)

    def compute(_at):
        begun.wait()
        return vectorizer().fit_transform(TEXTS)

    with ThreadPoolExecutor(4) as pool:
        assert all(np.array_equal(made, expected) for made in pool.map(compute, range(4)))


@pytest.mark.long  # imports scikit-learn again
def test_a_forked_child_computes_and_ends():
    done = subprocess.run([sys.executable, "-W", "error", "-c", FORKED], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_word_vectors_come_from_a_file(no_clients, vectors_file):
    with Client.local(vectors={"tiny": vectors_file}) as client:
        options = {"vectors": "tiny", "unknown_word": "zero", "on_empty": "zero", "truncate": True}
        expected = client.forward(map(tokenize, TEXTS), hidden_size=8, output="max", **options).outputs
    for vectors in (vectors_file, str(vectors_file)):
        assert np.array_equal(vectorizer(vectors=vectors).fit_transform(TEXTS), expected)
    assert no_clients().misses == 1
    with pytest.raises(InvalidRequestError, match="quiet"):
        vectorizer(vectors=vectors_file, unknown_word="error").fit_transform(TEXTS)


def test_a_file_that_changed_is_read_again(vectors_file):
    before = vectorizer(vectors=vectors_file).fit_transform(["film"])
    vectors_file.write_text("film 1 2 3 4 5\n")
    assert not np.array_equal(vectorizer(vectors=vectors_file).fit_transform(["film"]), before)


def test_a_list_of_words_that_changed_is_read_again(tmp_path):
    np.save(tmp_path / "tiny.npy", MATRIX)
    states = []
    for words in (WORDS, WORDS[::-1]):
        (tmp_path / "tiny.txt").write_text("\n".join(words))
        states.append(vectorizer(vectors=tmp_path / "tiny.npy").fit_transform(["film"]))
    assert not np.array_equal(*states)


def test_a_file_may_be_in_the_home_directory(vectors_file, monkeypatch):
    expected = vectorizer(vectors=vectors_file).fit_transform(TEXTS)
    monkeypatch.setenv("HOME", str(vectors_file.parent))
    assert np.array_equal(vectorizer(vectors="~/tiny.txt").fit_transform(TEXTS), expected)


def test_word_vectors_in_memory_are_shared_by_clones(no_clients, vectors_file):
    expected = vectorizer(vectors=vectors_file).fit_transform(TEXTS)
    words = list(WORDS)
    for seed in range(3):
        cloned = clone(make_pipeline(vectorizer(vectors=(words, MATRIX), seed=seed)))[0]
        assert cloned.vectors[1] is MATRIX
        cloned.fit(TEXTS)
        assert np.array_equal(cloned.transform(TEXTS), expected) == (seed == 0)
    assert no_clients().misses == 2


def test_a_servers_table_has_a_name(vectors_file):
    with running_server(Settings(address="127.0.0.1:0", vectors={"tiny": vectors_file})) as server:
        made = vectorizer(target=server.address, vectors="tiny").fit_transform(TEXTS)
    assert np.array_equal(made, vectorizer(vectors=vectors_file).fit_transform(TEXTS))


def test_without_scikit_learn_the_import_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    monkeypatch.delitem(sys.modules, "unrolled_client.sklearn")
    monkeypatch.setitem(EXTRAS, "sklearn", ("no_such_package",))
    with pytest.raises(ModuleNotFoundError) as caught:
        __import__("unrolled_client.sklearn")
    assert str(caught.value) == (
        "unrolled_client.sklearn needs packages that are not installed (no_such_package): "
        "pip install 'unrolled[sklearn]'"
    )
