"""Fixtures of the word-vector tests."""

from pathlib import Path

import pytest
from unrolled_server.word_vectors import open_vectors


@pytest.fixture
def table_of(tmp_path):
    """A function that writes a text file and opens it as a table."""

    def table_of(text, file_name="vectors.txt"):
        source = tmp_path / file_name
        source.write_bytes(text if isinstance(text, bytes) else text.encode())
        return open_vectors("test", source, cache_directory=tmp_path / "cache")

    return table_of


@pytest.fixture
def source(tmp_path) -> Path:
    """A file of two words by three values."""
    source = tmp_path / "source.txt"
    source.write_text("one 1 2 3\ntwo 4 5 6\n")
    return source
