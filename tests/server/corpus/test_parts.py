"""Options, the input and the pieces of the passes, each by itself."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unrolled_server.corpus import encoder, parts
from unrolled_server.corpus.errors import CorpusError, unwritable
from unrolled_server.corpus.manifest import check_same, describe, read_manifest
from unrolled_server.corpus.plan import make_plan
from unrolled_server.corpus.seeds import parse_seeds
from unrolled_server.corpus.source import open_source
from unrolled_server.corpus.whole import remove_unfinished, whole_file, whole_folder

from tests.server.corpus.corpora import parameters, random_texts, write_corpus


def test_seeds_are_numbers_and_ranges_in_the_order_given():
    assert parse_seeds("17,0-3, -2") == (17, 0, 1, 2, 3, -2)
    assert parse_seeds("-3--1") == (-3, -2, -1)


@pytest.mark.parametrize("seeds", ["", "a", "3-1", "0-2,1", "0-1000", "9223372036854775808", "1,,2"])
def test_seeds_that_are_none_are_refused(seeds):
    with pytest.raises(CorpusError, match="--seeds"):
        parse_seeds(seeds)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hidden_size": 0}, "--hidden-size is 0; it must be from 1"),
        ({"num_layers": 17}, "--num-layers is 17"),
        ({"proj_size": 8, "cell": "lstm"}, "--proj-size is 8; it must be from 0 to 7"),
        ({"proj_size": 2}, "--proj-size is for the lstm cell"),
        ({"cell": "gru", "nonlinearity": "relu"}, "--nonlinearity is for the rnn cell"),
        ({"spectral_radius": 0.0}, "--spectral-radius is 0"),
        ({"spectral_radius": 1.0, "cell": "lstm", "proj_size": 2}, "leave one of them out"),
        ({"alphabet": "aba"}, "--alphabet has 'a' more than once"),
        ({"alphabet": ""}, "--alphabet is empty"),
        ({"unknown_word": "zero"}, "--unknown-word is for --vectors"),
        ({"vectors": "glove=f"}, "--alphabet is for letters"),
        ({"vectors": "glove", "alphabet": None}, "give NAME=FILE"),
        ({"part_rows": 0}, "--part-rows is 0"),
    ],
)
def test_parameters_that_nobody_can_compute_are_named(changed, message):
    with pytest.raises(CorpusError, match=message):
        parameters(**changed).check()


def test_an_input_without_the_column_or_of_another_type_is_refused(tmp_path):
    file = write_corpus(tmp_path / "c.parquet", ["a"], id=[1])
    with pytest.raises(CorpusError, match=r"no column 'texts'.*it has text, id; name one by --column"):
        open_source(file, column="texts", keep=())
    with pytest.raises(CorpusError, match=r"no column 'label'.*by --keep"):
        open_source(file, column="text", keep=("label",))
    with pytest.raises(CorpusError, match=r"'id' of c\.parquet is of int64"):
        open_source(file, column="id", keep=())
    (tmp_path / "no.parquet").write_text("no")
    with pytest.raises(CorpusError, match="cannot be read as Parquet"):
        open_source(tmp_path / "no.parquet", column="text", keep=())
    with pytest.raises(CorpusError, match="neither a Parquet file nor a folder"):
        open_source(tmp_path / "none", column="text", keep=())


@settings(deadline=None)  # the first case writes the files
@given(start=st.integers(0, 59), count=st.integers(1, 60))
def test_any_slice_of_rows_is_read_across_files_and_row_groups(tmp_path_factory, start, count):
    texts = random_texts(60)
    folder = tmp_path_factory.getbasetemp() / "sliced"
    if not folder.exists():
        folder.mkdir()
        write_corpus(folder / "a.parquet", texts[:23])
        write_corpus(folder / "b.parquet", texts[23:])
    source = open_source(folder, column="text", keep=())
    assert source.texts(start, min(60, start + count)).to_pylist() == texts[start : start + count]


def test_texts_of_a_dictionary_column_are_read_as_texts(tmp_path):
    table = pa.table({"text": pa.array(["a", "b", "a"]).dictionary_encode()})
    pq.write_table(table, tmp_path / "c.parquet")
    assert open_source(tmp_path, column="text", keep=()).texts(0, 3).to_pylist() == ["a", "b", "a"]


@given(st.lists(st.text(max_size=4), min_size=1, max_size=200), st.integers(1, 50))
def test_borders_rise_and_depend_on_the_sample_alone(texts, range_texts):
    slices = [{"letters": "", "sample": sorted(set(texts)), "weight": 2}]
    plan = make_plan(slices, alphabet="a", range_texts=range_texts)
    assert list(plan.borders) == sorted(set(plan.borders))
    assert plan == make_plan(slices * 1, alphabet="a", range_texts=range_texts)
    assert plan.bounds(0)[0] is None
    assert plan.bounds(plan.range_count - 1)[1] is None


@given(st.lists(st.integers(1, 4_000), max_size=300))
def test_batches_and_row_groups_are_consecutive_and_within_their_bytes(lengths):
    batches = list(encoder.cut(lengths, text_bytes=256, symbol_bytes=4_100))
    assert [at for part in batches for at in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in batches:
        padded = (part.stop - part.start) * (256 + 4_100 * max(lengths[part]))
        assert padded <= encoder.BATCH_BYTES or part.stop - part.start == 1
    groups = list(parts.cut_rows(np.array(lengths, np.int64), row_bytes=40_000))
    assert [at for rows in groups for at in range(rows.start, rows.stop)] == list(range(len(lengths)))
    for rows in groups:
        assert sum(lengths[rows]) * 40_000 <= parts.GROUP_BYTES or rows.stop - rows.start == 1


def test_what_a_killed_writer_left_is_removed_and_never_has_the_final_name(tmp_path):
    with pytest.raises(OSError, match="file"), whole_file(tmp_path / "file") as unfinished:
        (unfinished / "below").write_text("half")
    with whole_folder(tmp_path / "folder") as unfinished, whole_folder(tmp_path / "folder") as other:
        (unfinished / "content").write_text("whole")
        (other / "content").write_text("whole")
    (tmp_path / ".part.0.unfinished").write_text("half")
    remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_another_job_is_told_by_what_differs(tmp_path):
    source = open_source(write_corpus(tmp_path / "c.parquet", ["a"]), column="text", keep=())
    found = describe(parameters(), source)
    check_same(found | {"fingerprint": "f", "derived_alphabet": "a"}, found, output=tmp_path)
    wanted = describe(parameters(hidden_size=9), source)
    with pytest.raises(CorpusError, match="another job: hidden_size is 8 there and 9 here; give the same"):
        check_same(found, wanted, output=tmp_path)
    write_corpus(tmp_path / "c.parquet", ["b"])
    with pytest.raises(CorpusError, match=r"input\.files is"):
        check_same(
            found, describe(parameters(), open_source(tmp_path, column="text", keep=())), output=tmp_path
        )


def test_a_folder_of_something_else_is_no_output(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(CorpusError, match="no output of this command; name a new folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError("[Errno 28] No space left on device")]
)
def test_a_full_disk_is_told_whoever_met_it(error):
    assert "No space left on device; put that right" in str(unwritable(error))
