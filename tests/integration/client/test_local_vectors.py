"""Word vectors that are handed to a local client in memory: the bits of a file, copies, forks and errors."""

import asyncio
import copy
import json
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from gensim.models import KeyedVectors
from unrolled_client import AsyncClient, Client, InvalidRequestError

TIMEOUT_S = 120
WORDS = ["the", "cat", "sat"]
MATRIX = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
SENTENCES = ["the cat sat", "sat", "the dog"]
NETWORK = {"hidden_size": 4, "cell": "lstm", "unknown_word": "mean"}
CLIENTS = pytest.mark.parametrize("client_class", [Client, AsyncClient])

FORKED = """
import os, warnings
import numpy as np
from unrolled_client import Client

warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads
words = (word for word in ["the", "cat"])  # can be read once
with Client.local(vectors={"tiny": (words, np.eye(2))}) as client:
    call = lambda: client.forward(["cat the"], hidden_size=2, vectors="tiny").outputs.tobytes()
    expected = call()
    child = os.fork()
    if not child:
        os._exit(0 if call() == expected else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
IMPORTED = """
import json, sys
import numpy as np
from unrolled_client import Client
Client.local(vectors={"tiny": (["a"], np.eye(1))}).close()
print(json.dumps(sorted({"gensim", "pandas"} & set(sys.modules))))
"""


def asked(result):
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def states(client, name="x"):
    return asked(client.forward(SENTENCES, vectors=name, **NETWORK)).outputs.tobytes()


def local(source, client_class=Client):
    return client_class.local(vectors={"x": source})


def keyed_vectors():
    vectors = KeyedVectors(MATRIX.shape[1])
    vectors.add_vectors(WORDS, MATRIX)
    return vectors


def run(script):
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S, check=True
    )
    return json.loads(done.stdout)


def test_vectors_in_memory_and_in_each_file_give_the_same_digest_and_bits(tmp_path):
    keyed_vectors().save_word2vec_format(str(tmp_path / "a.bin"), binary=True)
    keyed_vectors().save_word2vec_format(str(tmp_path / "a.vec"))
    np.save(tmp_path / "b.npy", MATRIX)
    (tmp_path / "b.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    sources = {
        "words_and_matrix": (WORDS, MATRIX),
        "float64": (WORDS, MATRIX.astype(np.float64)),
        "lists": (WORDS, MATRIX.tolist()),
        "gensim": keyed_vectors(),
        "pandas": pd.DataFrame(MATRIX, index=WORDS),
        **{f"file{path.suffix}": path for path in tmp_path.iterdir() if path.suffix != ".txt"},
    }
    with Client.local(vectors=sources, vectors_cache=tmp_path / "cache") as client:
        tables = client.server_info().vectors
        assert {table.name for table in tables} == sources.keys()
        assert len({(table.digest, table.word_count, table.size) for table in tables}) == 1
        assert len({states(client, name) for name in sources}) == 1


def test_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with local((WORDS, MATRIX)) as client:
        states(client)
    assert not list(tmp_path.iterdir())


@CLIENTS
@pytest.mark.parametrize("duplicate", [lambda it: pickle.loads(pickle.dumps(it)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("source", [lambda: (iter(WORDS), MATRIX), keyed_vectors], ids=["iterator", "gensim"])
def test_a_copy_computes_with_the_same_vectors(client_class, duplicate, source):
    client = local(source(), client_class)
    expected = states(client)
    twin = duplicate(client)
    asked(client.close())
    assert states(twin) == expected
    asked(twin.close())


def test_a_forked_child_has_the_vectors():
    assert run(FORKED) == 0


def test_neither_gensim_nor_pandas_is_imported():
    assert run(IMPORTED) == []


@CLIENTS
def test_a_client_shows_no_words_and_no_numbers(client_class):
    client = local((WORDS, MATRIX), client_class)
    assert repr(client) == f"{client_class.__name__}.local(vectors={{'x': <vectors of 3 words>}})"
    asked(client.close())


@CLIENTS
@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ((WORDS[:2], MATRIX), InvalidRequestError, "^vectors 'x': there are 2 words for 3 rows"),
        ((WORDS, MATRIX[0]), InvalidRequestError, r"^vectors 'x': the matrix has shape \(5,\)"),
        (
            (WORDS, MATRIX * np.inf),
            InvalidRequestError,
            r"^vectors 'x': row 0 \('the'\) has -?inf at position 0",
        ),
        (([], MATRIX[:0]), InvalidRequestError, r"^vectors 'x': the matrix has shape \(0, 5\)"),
        (([b"a", "b", "c"], MATRIX), TypeError, "^vectors 'x': word 0 is b'a', of type bytes; words are str"),
        (("abc", MATRIX), TypeError, r"^vectors\['x'\] begins with 'abc'; give \(WORDS, MATRIX\)"),
        ((3, MATRIX), TypeError, r"^vectors\['x'\] begins with 3; give \(WORDS, MATRIX\)"),
        (({"a", "b"}, MATRIX), TypeError, r"^vectors\['x'\] begins with a set, whose order differs"),
        (MATRIX, TypeError, r"(?s)^vectors\['x'\] is array.* \(ndarray\); give a file, \(WORDS, MATRIX\)"),
        ((WORDS, MATRIX, 1), TypeError, r"(?s)^vectors\['x'\] is \(.* \(tuple\); give a file, "),
        ({"a": [1.0]}, TypeError, r"^vectors\['x'\] is {'a': \[1\.0\]} \(dict\); give a file, "),
    ],
)
def test_wrong_vectors_are_refused_by_name(client_class, source, error, says):
    with pytest.raises(error, match=says):
        local(source, client_class)
