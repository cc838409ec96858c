"""`unrolled-map` without a home directory, with dead proxies, with long paths or ASCII output."""

import pytest

pytest.importorskip("pyarrow")

import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
from unrolled_corpus import ray_runner

from tests.support.corpus.corpora import write_corpus

pytestmark = pytest.mark.corpus
TIMEOUT_S = 240
COMMAND = (sys.executable, "-m", "unrolled_corpus")
NETWORK = ("--hidden-size", "2", "--workers", "1")
SAID = "1 of 3 rows are null or have no symbols in the column 'text', first row 1 (counted from 0)"
UNKNOWN_USER = ("setpriv", "--reuid", "1000720000", "--regid", "0", "--clear-groups",
                "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")  # fmt: skip


def run(*command, **options):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT_S, check=False, **options
    )


def test_long_temporary_folders_dead_proxies_and_ascii_output_end_no_job(tmp_path):
    (tmp_path / "long").mkdir()
    (tmp_path / "in" / "lang=é").mkdir(parents=True)
    write_corpus(tmp_path / "in" / "lang=é" / "a", ["é", None, "b"])
    (tmp_path / "in" / "à lire.txt").touch()
    dead = "http://127.0.0.1:9"
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "all_proxy"), dead)
    environment = os.environ | proxies | {"TMPDIR": str(tmp_path / "long"), "PYTHONIOENCODING": "ascii"}
    assert len(str(tmp_path / "long")) > ray_runner._MAX_PARENT_BYTES
    arguments = (tmp_path / "in", tmp_path / "out", *NETWORK, "--on-empty", "skip", "--keep", "lang")
    done = run(*COMMAND, *arguments, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        r"not read, because they are not Parquet files: \xe0 lire.txt",
        f"{SAID}; they are left out",
        r"alphabet: 2 symbols, derived from the corpus by first appearance: '\xe9b'",
    ]
    table = pq.read_table(tmp_path / "out")
    assert table.column_names == ["row", "lang", "seed_0"]
    assert table["lang"].to_pylist() == ["é", "é"]
    assert not list((tmp_path / "long").glob("ray*"))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes another user")
def test_a_user_without_an_entry_in_passwd_and_a_home_directory_can_run_a_job(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    corpus = write_corpus(tmp_path / "c.parquet", ["hello"])
    corpus.chmod(0o644)
    bare = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
    done = run(*UNKNOWN_USER, *COMMAND, corpus, tmp_path / "out", *NETWORK, env=bare, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "~").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root becomes another user")
def test_without_a_home_directory_the_error_names_the_setting_for_converted_vectors(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o777)
    corpus = write_corpus(tmp_path / "c.parquet", ["the"])
    (tmp_path / "v.txt").write_text("the 1 2\n")
    arguments = (corpus, tmp_path / "out", *NETWORK, "--vectors", f"v={tmp_path / 'v.txt'}")
    done = run(*UNKNOWN_USER, *COMMAND, *arguments, env={"PATH": os.environ["PATH"]}, cwd=tmp_path)
    assert done.returncode == 6
    assert "this user has none; set XDG_CACHE_HOME or HOME" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("c.parquet", "s3://bucket/out", "--hidden-size", "2"),
        ("s3://bucket/in", "out", "--hidden-size", "2"),
        ("", "out", "--hidden-size", "2"),
        ("c.parquet", "", "--hidden-size", "2"),
        ("c.parquet", "out", "--hidden-size", "2", "--vectors", "v=s3://bucket/v.txt"),
        ("c.parquet", "out", "--hidden-size", "2", "--workers", "0"),
        ("c.parquet", "out", "--hidden-size", "2.5"),
        ("c.parquet", "out", "--hidden-size", "2", "--spectral-radius", "nan"),
        ("c.parquet", "out", "--hidden-size", "2", "--on-empty", "drop"),
        ("c.parquet", "out", "--hidden-size", "2", "--embedding-size", "0"),
        ("c.parquet", "out", "--hidden-sise", "2"),
    ],
)
def test_wrong_arguments_end_with_2_and_write_nothing(tmp_path, arguments):
    write_corpus(tmp_path / "c.parquet", ["a"])
    done = run(*COMMAND, *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]
