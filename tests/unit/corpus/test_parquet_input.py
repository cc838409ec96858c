"""Rows of the input by number, whatever the structure of its files."""

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parquet_input import open_input

from tests.support.corpus.corpora import random_texts, write_corpus

pytestmark = pytest.mark.corpus


def test_an_input_without_the_column_or_of_another_type_is_refused(tmp_path):
    file = write_corpus(tmp_path / "c.parquet", ["a"], id=[1])
    with pytest.raises(CorpusError, match=r"no column 'texts'.*it has text, id; name one by --column"):
        open_input(file, column="texts", keep=())
    with pytest.raises(CorpusError, match=r"no column 'label'.*by --keep"):
        open_input(file, column="text", keep=("label",))
    with pytest.raises(CorpusError, match=r"'id' of c\.parquet is of int64"):
        open_input(file, column="id", keep=())
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        open_input(tmp_path / "no.parquet", column="text", keep=())
    with pytest.raises(CorpusError, match=r"there is no Parquet file at .*/none; name one, a folder"):
        open_input(tmp_path / "none", column="text", keep=())
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match=r"there is no Parquet file at .*/empty; name one"):
        open_input(tmp_path / "empty", column="text", keep=())


@given(start=st.integers(0, 59), count=st.integers(1, 60))
def test_any_slice_of_rows_is_read_across_files_and_row_groups(tmp_path_factory, start, count):
    texts = random_texts(60)
    folder = tmp_path_factory.getbasetemp() / "sliced"
    if not folder.exists():
        folder.mkdir()
        write_corpus(folder / "a.parquet", texts[:23])
        write_corpus(folder / "b.parquet", texts[23:])
    source = open_input(folder, column="text", keep=())
    assert source.read_texts(start, min(60, start + count)).to_pylist() == texts[start : start + count]


def test_texts_are_read_whatever_the_string_type_and_column_order_of_each_file(tmp_path):
    texts, identity = pa.array(["a", "b", "a"]), pa.array([1, 2, 3])
    pq.write_table(pa.table({"text": texts.dictionary_encode(), "id": identity}), tmp_path / "a.parquet")
    large = texts.cast(pa.large_string())
    pq.write_table(pa.table({"id": identity, "text": large, "n": identity}), tmp_path / "b.parquet")
    write_corpus(tmp_path / "c.parquet", texts, id=identity)
    source = open_input(tmp_path, column="text", keep=("id",))
    assert source.read_texts(1, 9).to_pylist() == ["b", "a", "a", "b", "a", "a", "b", "a"]
    assert source.read_kept(1, 9)["id"].to_pylist() == [2, 3, 1, 2, 3, 1, 2, 3]


def test_a_damaged_file_is_reported_by_name(tmp_path):
    file = write_corpus(tmp_path / "c.parquet", random_texts(60))
    source = open_input(file, column="text", keep=())
    content = bytearray(file.read_bytes())
    content[4:100] = bytes(96)
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=r"c\.parquet cannot be read: .*; put the file back"):
        source.read_texts(0, 60)
