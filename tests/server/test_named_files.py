"""Files get their names from NAME=FILE or JSON, and each wrong entry one clear sentence."""

import os
from pathlib import Path

import pytest
from pydantic_core import PydanticCustomError
from unrolled_server.named_files import default_cache_directory, local_path, named_files


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with files a and b,c in it."""
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
def test_each_way_to_name_files(folder, monkeypatch, given, files):
    monkeypatch.setenv("HOME", str(folder))
    assert named_files(given) == {name: Path(file.replace("~", str(folder))) for name, file in files.items()}


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
            "a file is '~nobody-here/a', and ~nobody-here is no home directory here; give the whole path",
        ),
        ("x=pipe", "pipe is no regular file"),
        ('{"x": 1}', 'as JSON it is {"NAME": "FILE"}'),
        ('{"x": {"y": "a"}}', 'as JSON it is {"NAME": "FILE"}'),
        ('{"x"', "it is neither NAME=FILE nor JSON: Expecting ':' delimiter: line 1 column 5 (char 4)"),
    ],
)
def test_each_wrong_entry_is_told(folder, given, reason):
    with pytest.raises(PydanticCustomError) as caught:
        named_files(given)
    assert caught.value.message() == reason


def test_a_name_has_64_characters_at_most(folder):
    assert named_files(f"{'x' * 64}=a")
    with pytest.raises(PydanticCustomError):
        named_files(f"{'x' * 65}=a")


@pytest.mark.parametrize(
    ("cache_home", "directory"),
    [
        ("/var/tmp/c", "/var/tmp/c/unrolled"),
        ("", "/home/me/.cache/unrolled"),
        ("not/absolute", "/home/me/.cache/unrolled"),
    ],
)
def test_the_cache_lies_where_xdg_says(monkeypatch, cache_home, directory):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("XDG_CACHE_HOME", cache_home)
    assert default_cache_directory() == Path(directory)


@pytest.mark.parametrize(
    "given", ["s3://bucket/out", "hdfs://h:8020/x", "file:///tmp/x", "abfss://c@a.b/x", "a://"]
)
def test_a_url_is_no_path(given):
    with pytest.raises(ValueError, match="a URL; give a path of a file system"):
        local_path(given)


@pytest.mark.parametrize("given", ["", " "])
def test_an_empty_path_is_not_the_working_directory(given):
    with pytest.raises(ValueError, match="is empty; name a path"):
        local_path(given)


@pytest.mark.parametrize("given", ["a", "./s3:", "./s3://bucket", "/a:/b", "c:", "./~", "a/~/b", "a b "])
def test_other_paths_are_taken_as_they_are(given):
    assert local_path(given) == Path(given)
