"""Settings of an engine in the caller's process: defaults, ranges and errors."""

import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from unrolled_server.engine_settings import MOST, SERVER_SETTINGS, EngineSettings, Limits
from unrolled_server.paths import vectors_directory
from unrolled_server.settings import Settings

SHARED = {**asdict(EngineSettings.of()), **asdict(Limits())}
del SHARED["limits"]

# Answers a request where the packages of a server can't be imported. fcntl is not there on every system, and
# `import grpc` itself imports grpc.aio.
ANSWER = """
import sys
sys.modules |= dict.fromkeys([
    "fcntl", "filelock", "grpc_health", "grpc_reflection", "jaxtyping", "prometheus_client", "pydantic",
    "pydantic_settings", "structlog", "torch",
])
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.in_process import InProcessService
request = pb.ForwardRequest(words=["hello"], hidden_size=2, seed=0).SerializeToString()
service = InProcessService(device="cpu")
print(service.forward(request).values[0, 0].round(4))
service.close()
"""


def test_an_engine_answers_requests_without_the_packages_of_a_server():
    done = subprocess.run([sys.executable, "-c", ANSWER], capture_output=True, text=True, check=False)
    assert done.stdout == "[-0.7497 -0.6135]\n", done.stderr


def test_a_server_has_the_same_settings_with_the_same_defaults(monkeypatch):
    monkeypatch.delenv("UNROLLED_VECTORS_CACHE", raising=False)  # of the tests
    settings = Settings.model_validate({})
    assert {name: getattr(settings, name) for name in SHARED} == SHARED
    assert set(Settings.model_fields) == SHARED.keys() | SERVER_SETTINGS


@pytest.mark.parametrize("name", MOST)
def test_a_server_allows_the_same_range(name):
    least = int(name != "compute_threads")
    for number in (least, MOST[name]):
        Settings.model_validate({name: number})
        EngineSettings.of(**{name: number})
    for number in (least - 1, MOST[name] + 1):
        with pytest.raises(ValidationError):
            Settings.model_validate({name: number})
        with pytest.raises(ValueError, match=f"{name} is {number}; it may be {least} to {MOST[name]}$"):
            EngineSettings.of(**{name: number})


def test_none_is_the_default():
    assert EngineSettings.of(**dict.fromkeys(SHARED)) == EngineSettings.of()


def test_numbers_may_be_of_any_integer_type():
    settings = EngineSettings.of(max_words=np.int64(3), compute_threads=np.uint8(2))
    assert (settings.limits, settings.compute_threads) == (replace(Limits(), max_words=3), 2)
    assert type(settings.limits.max_words) is int


@pytest.mark.parametrize("given", [True, 1.0, "1", [1]])
def test_what_is_no_whole_number_is_refused(given):
    with pytest.raises(TypeError, match=r"max_words is .*; give a whole number from 1 to 2147483647"):
        EngineSettings.of(max_words=given)


def test_a_device_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"device is 'tpu'; give one of 'auto', 'cpu', 'cuda', 'mps'"):
        EngineSettings.of(device="tpu")


def test_word_vectors_may_be_given_in_each_form(tmp_path):
    files = {name: tmp_path / f"{name},1.txt" for name in ("glove", "w2v")}
    for file in files.values():
        file.touch()
    entries = [f"{name}={file}" for name, file in files.items()]
    for given in (files, {name: str(file) for name, file in files.items()}, entries, tuple(entries)):
        assert EngineSettings.of(vectors=given).vectors == files
    plain = tmp_path / "plain.txt"
    plain.touch()
    assert EngineSettings.of(vectors=f"plain={plain}").vectors == {"plain": plain}


@pytest.mark.parametrize(
    ("given", "error", "reason"),
    [
        ("glove", ValueError, "vectors is 'glove': 'glove' is not NAME=FILE"),
        (["a=/x", "a=/x"], ValueError, "/x cannot be read: No such file"),
        ({"a b": "/x"}, ValueError, "the name 'a b' is not 1 to 64 of"),
        ({"a": 1}, TypeError, "give 'NAME=FILE', a list of these, or a dict from NAME to FILE"),
        ([1], TypeError, "give 'NAME=FILE'"),
        ({"a": (["x"], [[1]], 0)}, TypeError, r"a dict from NAME to FILE or to \(WORDS, MATRIX\)"),
        ({"a b": (["x"], [[1]])}, ValueError, "the name 'a b' is not 1 to 64 of"),
        ({1: (["x"], [[1]])}, TypeError, "give 'NAME=FILE'"),
        (1, TypeError, "vectors is 1; give 'NAME=FILE'"),
    ],
)
def test_word_vectors_that_cannot_be_opened_are_refused(given, error, reason):
    with pytest.raises(error, match=reason):
        EngineSettings.of(vectors=given)


def test_the_cache_of_word_vectors_is_a_path(tmp_path):
    for given, path in ((tmp_path, tmp_path), ("~/vectors", Path.home() / "vectors")):
        assert vectors_directory(EngineSettings.of(vectors_cache=given).vectors_cache) == path
    for given, error in (("", ValueError), ("s3://a", ValueError), (1, TypeError)):
        with pytest.raises(error, match="vectors_cache is "):
            EngineSettings.of(vectors_cache=given)


def test_word_vectors_may_be_in_memory_beside_files(tmp_path):
    (tmp_path / "a.txt").touch()
    given = {"file": str(tmp_path / "a.txt"), "memory": (["x"], [[1.0]])}
    assert EngineSettings.of(vectors=given).vectors == given | {"file": tmp_path / "a.txt"}


def test_word_vectors_need_a_place_for_their_converted_form(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr("unrolled_server.paths.os.path.expanduser", lambda path: path)
    file = tmp_path / "a.txt"
    file.touch()
    with pytest.raises(ValueError, match="set XDG_CACHE_HOME or HOME, or give vectors_cache"):
        EngineSettings.of(vectors={"a": file})
    assert EngineSettings.of(vectors={"a": (["x"], [[1.0]])}).vectors  # nothing is converted


def test_an_unknown_name_gets_the_nearest_setting():
    with pytest.raises(TypeError, match=r"max_word is not a setting; did you mean max_words\?"):
        EngineSettings.of(max_word=1)
    with pytest.raises(TypeError, match="colour is not a setting; there are max_words, "):
        EngineSettings.of(colour=1)


@pytest.mark.parametrize("name", sorted(SERVER_SETTINGS))
def test_a_setting_of_a_server_is_refused(name):
    with pytest.raises(
        TypeError, match=f"{name} is a setting of a server's, .* start unrolled-server with it"
    ):
        EngineSettings.of(**{name: None})


def test_the_environment_has_no_effect(monkeypatch):
    expected = EngineSettings.of()
    for name in SHARED:
        monkeypatch.setenv(f"UNROLLED_{name.upper()}", "3")
    assert EngineSettings.of() == expected


def test_settings_can_be_pickled():
    settings = EngineSettings.of(max_words=3)
    assert pickle.loads(pickle.dumps(settings)) == settings
