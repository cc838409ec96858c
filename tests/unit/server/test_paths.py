"""Parses NAME=FILE entries, expands home directories, and refuses wrong entries with a reason."""

import os
import pwd
import re
from pathlib import Path

import pytest
from unrolled_server.paths import (
    NoHomeError,
    default_cache_directory,
    expand_home,
    local_path,
    parse_named_files,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, which contains the files a and b,c."""
    (tmp_path / "a").touch()
    (tmp_path / "b,c").touch()
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("given", "files"),
    [
        ("", {}),
        ("x=a", {"x": "a"}),
        (" x=a , y=a, ", {"x": "a", "y": "a"}),
        ("glove.6B_300-d=a", {"glove.6B_300-d": "a"}),
        ('{"x": "a", "y": "b,c"}', {"x": "a", "y": "b,c"}),
        ("{}", {}),
        ({"x": Path("a")}, {"x": "a"}),
        ("x=~/a", {"x": "~/a"}),
    ],
)
def test_each_form_of_named_files_is_accepted(folder, monkeypatch, given, files):
    monkeypatch.setenv("HOME", str(folder))
    assert parse_named_files(given) == {
        name: Path(file.replace("~", str(folder))) for name, file in files.items()
    }


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("a", "'a' is not NAME=FILE, such as glove=glove.6B.300d.txt; FILEs with commas go as JSON"),
        ("x=", "'x=' is not NAME=FILE, such as glove=glove.6B.300d.txt; FILEs with commas go as JSON"),
        ("x=b,c", "'c' is not NAME=FILE, such as glove=glove.6B.300d.txt; FILEs with commas go as JSON"),
        ("x y=a", "the name 'x y' is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"),
        ("=a", "the name '' is not 1 to 64 of A-Z, a-z, 0-9, '.', '_' and '-'"),
        ("x=a,x=a", "the name 'x' is there twice; give each file a name of its own"),
        ('{"x": "a", "x": "a"}', "the name 'x' is there twice; give each file a name of its own"),
        ("x={none}", "{none} cannot be read: No such file or directory"),
        ("x=.", ". is no regular file"),
        (
            "x=s3://bucket/a",
            "a file is 's3://bucket/a', a URL; give a path of a file system that all nodes mount",
        ),
        (
            "x=~nobody-here/a",
            (
                "a file ~nobody-here/a begins with a home directory that is not known; "
                "write the whole path, or set HOME"
            ),
        ),
        ("x=pipe", "pipe is no regular file"),
        ('{"x": 1}', 'as JSON it is {"NAME": "FILE"}'),
        ('{"x": {"y": "a"}}', 'as JSON it is {"NAME": "FILE"}'),
        ('{"x"', "it is neither NAME=FILE nor JSON: Expecting ':' delimiter: line 1 column 5 (char 4)"),
    ],
)
def test_each_wrong_entry_is_refused_with_its_reason(folder, given, reason):
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        parse_named_files(given)


def test_a_name_has_at_most_64_characters(folder):
    assert parse_named_files(f"{'x' * 64}=a")
    with pytest.raises(ValueError, match="is not 1 to 64 of"):
        parse_named_files(f"{'x' * 65}=a")


@pytest.mark.parametrize(
    ("cache_home", "directory"),
    [
        ("/var/tmp/c", "/var/tmp/c/unrolled"),
        ("", "/home/me/.cache/unrolled"),
        ("not/absolute", "/home/me/.cache/unrolled"),
    ],
)
def test_the_cache_follows_xdg_cache_home(monkeypatch, cache_home, directory):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    assert default_cache_directory() == Path(directory)


@pytest.fixture
def _without_home(monkeypatch):
    """A user as OpenShift creates them: a number without an entry in /etc/passwd, and no HOME."""

    def no_entry(_uid):
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


@pytest.mark.usefixtures("_without_home")
def test_without_a_home_a_path_that_begins_with_a_tilde_is_refused():
    with pytest.raises(NoHomeError, match="~/tokens begins with a home directory that is not known; write"):
        expand_home("~/tokens")
    with pytest.raises(NoHomeError, match="XDG_CACHE_HOME or HOME"):
        default_cache_directory()
    assert expand_home("tokens") == Path("tokens")


@pytest.mark.usefixtures("_without_home")
def test_without_a_home_the_cache_can_be_set(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/tmp/c")
    assert default_cache_directory() == Path("/var/tmp/c/unrolled")


def test_the_home_of_an_unknown_user_is_refused():
    with pytest.raises(NoHomeError, match="write the whole path"):
        expand_home("~nobody-of-this-name/tokens")


@pytest.mark.parametrize(
    "given", ["s3://bucket/out", "hdfs://h:8020/x", "file:///tmp/x", "abfss://c@a.b/x", "a://"]
)
def test_a_url_is_refused(given):
    with pytest.raises(ValueError, match="a URL; give a path of a file system"):
        local_path(given)


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_path_is_refused(given):
    with pytest.raises(ValueError, match="is empty; name a path"):
        local_path(given)


@pytest.mark.parametrize("given", ["a", "./s3:", "./s3://bucket", "/a:/b", "c:", "./~", "a/~/b", "a b "])
def test_other_paths_are_unchanged(given):
    assert local_path(given) == Path(given)
