"""Which files are read, in which order, and which others are reported."""

import pytest

pytest.importorskip("pyarrow")

import os

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.input_files import find_files, partition_columns, would_read
from unrolled_corpus.parquet_input import open_input

from tests.support.corpus.corpora import write_corpus

pytestmark = pytest.mark.corpus
ENDINGS = ["a.parquet", "b.parq", "c.pq", "d.parquet.gzip", "e.snappy.parquet", "f", "g.0"]


def texts_of(path, **options):
    source = open_input(path, column="text", **{"keep": ()} | options)
    return source.read_texts(0, source.row_count).to_pylist()


def test_parquet_files_of_all_endings_are_read_in_the_order_of_their_names(tmp_path):
    for name in reversed(ENDINGS):
        write_corpus(tmp_path / name, [name])
    assert texts_of(tmp_path) == ENDINGS


@pytest.mark.parametrize("name", [*ENDINGS, "_hidden", ".hidden.parquet", "x.txt"])
def test_an_explicitly_named_file_is_read_whatever_its_ending(tmp_path, name):
    assert texts_of(write_corpus(tmp_path / name, ["a"])) == ["a"]


def test_files_that_are_not_parquet_are_reported(tmp_path):
    write_corpus(tmp_path / "a.parquet", ["a"])
    (tmp_path / "below").mkdir()
    for name in ("README.md", "empty", "below/notes.csv"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe")
    source = open_input(tmp_path, column="text", keep=())
    assert source.skipped_names == ("README.md", "below/notes.csv", "empty", "pipe")
    assert [file.name for file in source.files] == ["a.parquet"]


@pytest.mark.parametrize("name", ["b.parquet", "b.parquet.md5"])
def test_a_file_with_the_ending_but_another_format_is_refused_with_a_pattern_as_remedy(tmp_path, name):
    write_corpus(tmp_path / "a.parquet", ["a"])
    (tmp_path / name).write_text("d41d8cd98f00b204e9800998ecf8427e  b.parquet")
    remedy = f"{name} cannot be read as Parquet: .*by a pattern in quotes, such as '{tmp_path}/\\*.parquet'$"
    with pytest.raises(CorpusError, match=remedy):
        texts_of(tmp_path)
    (tmp_path / name).rename(tmp_path / "b.parquet.md5")
    assert texts_of(tmp_path / "*.parquet") == ["a"]


def test_a_pattern_selects_files_in_the_order_of_their_paths_but_no_hidden_ones(tmp_path):
    for name in ("lang=en/b.parquet", "lang=de/a.parquet", "lang=de/_temporary/c.parquet", "d.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write_corpus(tmp_path / name, [name[-9]])
    (tmp_path / "lang=en" / "notes.parq").touch()
    assert texts_of(tmp_path / "**" / "*.parquet") == ["d", "a", "b"]
    source = open_input(tmp_path / "lang=*" / "*.parquet", column="text", keep=("lang",))
    assert source.read_kept(0, 2)["lang"].to_pylist() == ["de", "en"]
    with pytest.raises(CorpusError, match=r"there is no Parquet file at .*/\*\.pq; name one"):
        texts_of(tmp_path / "*.pq")


def test_an_existing_name_with_wildcards_is_not_a_pattern(tmp_path):
    for name in ("a[1].parquet", "a1.parquet"):
        write_corpus(tmp_path / name, [name])
    assert texts_of(tmp_path / "a[1].parquet") == ["a[1].parquet"]


@pytest.mark.parametrize(
    ("source", "output", "is_read"),
    [
        ("in", "in/out", True),
        ("in", "out", False),
        ("in/a.parquet", "in", False),
        ("in/*.parquet", "in/out", False),
        ("in/*.parquet", "in", True),
        ("in/*/*.parquet", "in/out", True),
        ("in/*/*.pq", "in/out", False),
        ("in/**/*.parquet", "in/out/deep", True),
        ("in/**/*.parquet", "out", False),
    ],
)
def test_an_output_inside_the_input_is_recognized_before_it_exists(tmp_path, source, output, is_read):
    (tmp_path / "in").mkdir()
    write_corpus(tmp_path / "in" / "a.parquet", ["a"])
    assert would_read(tmp_path / source, tmp_path / output / "part-00000.parquet") is is_read


def test_hidden_files_and_folders_are_skipped(tmp_path):
    write_corpus(tmp_path / "a.parquet", ["a"])
    for folder in ("_temporary", ".git"):
        (tmp_path / folder).mkdir()
        write_corpus(tmp_path / folder / "b.parquet", ["b"])
    for name in ("_SUCCESS", "_metadata", ".a.parquet.crc"):
        (tmp_path / name).touch()
    assert find_files(tmp_path).paths == (tmp_path / "a.parquet",)
    assert not find_files(tmp_path).skipped_names


def test_linked_files_and_folders_are_read(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "in").mkdir()
    write_corpus(tmp_path / "elsewhere" / "b.parquet", ["b"])
    write_corpus(tmp_path / "blob", ["a"])
    (tmp_path / "in" / "a.parquet").symlink_to(tmp_path / "blob")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "linked").symlink_to(tmp_path / "in")
    assert texts_of(tmp_path / "linked") == ["a", "b"]
    assert texts_of(tmp_path / "linked" / "a.parquet") == ["a"]


def test_a_broken_or_cyclic_link_is_refused(tmp_path):
    write_corpus(tmp_path / "a.parquet", ["a"])
    (tmp_path / "b.parquet").symlink_to(tmp_path / "gone")
    with pytest.raises(CorpusError, match=r"b\.parquet is a link to a file that does not exist"):
        find_files(tmp_path)
    (tmp_path / "b.parquet").unlink()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "up").symlink_to(tmp_path)
    with pytest.raises(CorpusError, match="below/up is a link to a folder that contains it"):
        find_files(tmp_path)


def test_partition_folders_are_columns(tmp_path):
    langs = ["en", "de/at", None, "en", "fr fr"]
    table = pa.table({"text": list("abcde"), "lang": langs, "_day": [1, 2, 1, 1, 3]})
    schema = pa.schema([("_day", pa.int64()), ("lang", pa.string())])
    partitioning = ds.partitioning(schema, flavor="hive")
    ds.write_dataset(table, tmp_path, format="parquet", partitioning=partitioning)
    source = open_input(tmp_path, column="text", keep=("lang", "text", "_day"))
    kept = source.read_kept(0, 5)
    assert kept.column_names == ["lang", "text", "_day"]
    assert kept.schema.equals(source.kept_schema)
    expected = {(text, lang, str(day)) for text, lang, day in zip(*table.to_pydict().values(), strict=True)}
    assert set(
        zip(kept["text"].to_pylist(), kept["lang"].to_pylist(), kept["_day"].to_pylist(), strict=True)
    ) == (expected)
    assert source.read_kept(1, 3).equals(kept.slice(1, 2).combine_chunks())
    assert texts_of(tmp_path) == kept["text"].to_pylist()


def test_a_files_own_column_takes_precedence_over_a_partition_column(tmp_path):
    (tmp_path / "id=9").mkdir()
    write_corpus(tmp_path / "id=9" / "a.parquet", ["a", "b", "c"], id=[1, 2, 3])
    assert open_input(tmp_path, column="text", keep=("id",)).read_kept(0, 3)["id"].to_pylist() == [1, 2, 3]
    (tmp_path / "id=9").rename(tmp_path / "n=9")
    source = open_input(tmp_path, column="text", keep=("n",))
    assert source.read_kept(1, 3)["n"].to_pylist() == ["9", "9"]
    assert source.row_count == 3


def test_a_partition_column_of_only_some_folders_is_refused(tmp_path):
    (tmp_path / "lang=en").mkdir()
    write_corpus(tmp_path / "lang=en" / "a.parquet", ["a"])
    write_corpus(tmp_path / "b.parquet", ["b"])
    with pytest.raises(CorpusError, match=r"b\.parquet has no column 'lang', or several; it has text"):
        open_input(tmp_path, column="text", keep=("lang",))


def test_names_of_partition_folders_are_decoded(tmp_path):
    name = tmp_path / "a=b=c" / "d%20e=%C3%A9" / "f=__HIVE_DEFAULT_PARTITION__" / "plain" / "g=h.parquet"
    assert partition_columns(name.relative_to(tmp_path)) == {"a": "b=c", "d e": "é", "f": None}


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)
def test_texts_and_bytes_of_every_type_are_read_and_kept(tmp_path, kind):
    texts = ["héllo", "", None, "world", "héllo"]
    column = pa.array(texts).cast(pa.binary() if "binary" in str(kind) else pa.string()).cast(kind)
    pq.write_table(pa.table({"text": column, "same": column}), tmp_path / "a.parquet")
    assert texts_of(tmp_path) == texts
    kept = open_input(tmp_path, column="text", keep=("same",)).read_kept(0, 5)["same"]
    expected = [text.encode() if text and "binary" in str(kind) else text for text in texts]
    assert [value or None for value in kept.to_pylist()] == [value or None for value in expected]


def test_a_column_of_nulls_has_no_texts(tmp_path):
    pq.write_table(pa.table({"text": pa.nulls(2)}), tmp_path / "a.parquet")
    assert texts_of(tmp_path) == [None, None]


@pytest.mark.parametrize("column", [[1, 2], [["a"], ["b"]], [1.5, None]])
def test_a_column_of_another_type_is_refused_with_the_remedy(tmp_path, column):
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(
        CorpusError, match=r"'text' of a\.parquet is of .*; cast it to strings, or name a column"
    ):
        texts_of(tmp_path)
