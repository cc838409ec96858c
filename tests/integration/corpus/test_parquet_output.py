"""Options, the input and the pieces of the passes, each by itself."""

from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hypothesis import given
from hypothesis import strategies as st
from unrolled_corpus import encode, parquet_output
from unrolled_corpus.atomic_files import remove_unfinished, whole_file, whole_folder
from unrolled_corpus.cli_options import CorpusFlags, NetworkFlags
from unrolled_corpus.errors import CorpusError, unwritable
from unrolled_corpus.manifest import check_same, describe, read_manifest
from unrolled_corpus.parquet_input import open_source
from unrolled_corpus.partition import make_plan
from unrolled_corpus.seeds import column_of, parse_seeds
from unrolled_corpus.text_rules import open_table
from unrolled_server.exit_codes import EXIT_VECTORS

from tests.integration.corpus.corpora import parameters, random_texts, write_corpus

pytestmark = pytest.mark.corpus


def test_seeds_are_numbers_and_ranges_in_the_order_given():
    assert parse_seeds("17,0-3, -2") == (17, 0, 1, 2, 3, -2)
    assert parse_seeds("-3--1") == (-3, -2, -1)


def test_seeds_are_whatever_torch_takes():
    lowest, highest = -(2**63), 2**64 - 1
    assert parse_seeds(f"{lowest},{highest}") == (lowest, highest)
    for seed in (lowest, highest):
        torch.Generator().manual_seed(seed)
    for seed in (lowest - 1, highest + 1):
        with pytest.raises(ValueError, match="Overflow"):
            torch.Generator().manual_seed(seed)
        with pytest.raises(
            CorpusError, match=r"seeds are from -2\*\*63 to 2\*\*64 - 1, as for torch.manual_seed"
        ):
            parse_seeds(str(seed))
    assert column_of(highest) == "seed_18446744073709551615"


@pytest.mark.parametrize(
    "seeds",
    [
        "",
        "a",
        "3-1",
        "0-2,1",
        "0-1000",
        "18446744073709551616",
        "-9223372036854775809",
        "9" * 5_000,
        "1,,2",
        "[0, 1]",
        "range(3)",
        "1.0",
        "1e3",
        "True",
        "0..9",
    ],
)
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
    with pytest.raises(CorpusError, match=r"there is no file or folder .*/none; name"):
        open_source(tmp_path / "none", column="text", keep=())
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="neither a Parquet file nor a folder"):
        open_source(tmp_path / "empty", column="text", keep=())


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


def test_texts_are_read_whatever_kind_of_strings_and_order_of_columns_each_file_has(tmp_path):
    texts, identity = pa.array(["a", "b", "a"]), pa.array([1, 2, 3])
    pq.write_table(pa.table({"text": texts.dictionary_encode(), "id": identity}), tmp_path / "a.parquet")
    large = texts.cast(pa.large_string())
    pq.write_table(pa.table({"id": identity, "text": large, "n": identity}), tmp_path / "b.parquet")
    write_corpus(tmp_path / "c.parquet", texts, id=identity)
    source = open_source(tmp_path, column="text", keep=("id",))
    assert source.texts(1, 9).to_pylist() == ["b", "a", "a", "b", "a", "a", "b", "a"]
    assert source.kept(1, 9)["id"].to_pylist() == [2, 3, 1, 2, 3, 1, 2, 3]


def test_an_input_that_is_damaged_is_told_by_its_name(tmp_path):
    file = write_corpus(tmp_path / "c.parquet", random_texts(60))
    source = open_source(file, column="text", keep=())
    content = bytearray(file.read_bytes())
    content[4:100] = bytes(96)
    file.write_bytes(content)
    with pytest.raises(CorpusError, match=r"c\.parquet cannot be read: .*; put the file back"):
        source.texts(0, 60)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"keep": "id, id"}, "--keep names 'id' twice"),
        ({"keep": "id,seed_7"}, "--keep has 'seed_7', which is the column of a seed"),
        (
            {"keep": "row", "on_empty": "skip"},
            "--keep has 'row', the column of row numbers with --on-empty skip",
        ),
        ({"output_folder": "in/deep/out"}, "OUTPUT .* is in INPUT"),
        ({"output_folder": "linked/out"}, "OUTPUT .* is in INPUT"),
    ],
)
def test_an_output_that_would_clash_is_refused_before_anything_starts(tmp_path, changed, message):
    (tmp_path / "in").mkdir()
    (tmp_path / "linked").symlink_to("in")
    given = {"source": f"{tmp_path}/in", "output_folder": f"{tmp_path}/{changed.get('output_folder', 'out')}"}
    changed = {name: value for name, value in changed.items() if name != "output_folder"}
    with pytest.raises(CorpusError, match=message):
        NetworkFlags(hidden_size=2, seeds="0-9").parameters(CorpusFlags(**given, **changed))


def test_the_file_of_vectors_is_a_whole_path_and_the_same_content_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Path("two.txt").write_text("the 1 2 3\ncat 4 5 6\n")
    corpus = CorpusFlags(source="c.parquet", output_folder="out")
    given = NetworkFlags(hidden_size=2, vectors="two=two.txt").parameters(corpus)
    assert given.vectors == f"two={tmp_path / 'two.txt'}"
    digest = open_table(given).digest
    assert open_table(given, digest=digest).digest == digest
    with pytest.raises(CorpusError, match="and other where the command was given") as raised:
        open_table(given, digest="other")
    assert raised.value.exit_code == EXIT_VECTORS


@given(st.lists(st.text(max_size=4), min_size=1, max_size=200), st.integers(1, 50))
def test_borders_rise_and_depend_on_the_sample_alone(texts, range_texts):
    slices = [{"letters": "", "sample": sorted(set(texts)), "weight": 2}]
    plan = make_plan(slices, alphabet="a", range_texts=range_texts)
    assert list(plan.borders) == sorted(set(plan.borders))
    halves = [slices[0] | {"sample": slices[0]["sample"][at::2]} for at in (1, 0)]
    assert plan == make_plan(halves, alphabet="a", range_texts=range_texts)
    assert plan.bounds(0)[0] is None
    assert plan.bounds(plan.range_count - 1)[1] is None


@given(st.lists(st.integers(1, 4_000), max_size=300))
def test_batches_and_row_groups_are_consecutive_and_within_their_bytes(lengths):
    batches = list(encode.cut(lengths, text_bytes=256, symbol_bytes=4_100))
    assert [at for part in batches for at in range(part.start, part.stop)] == list(range(len(lengths)))
    for part in batches:
        padded = (part.stop - part.start) * (256 + 4_100 * max(lengths[part]))
        assert padded <= encode.BATCH_BYTES or part.stop - part.start == 1
    groups = list(parquet_output.cut_rows(np.array(lengths, np.int64), row_bytes=40_000))
    assert [at for rows in groups for at in range(rows.start, rows.stop)] == list(range(len(lengths)))
    for rows in groups:
        assert sum(lengths[rows]) * 40_000 <= parquet_output.GROUP_BYTES or rows.stop - rows.start == 1


def test_what_a_killed_writer_left_is_removed_and_never_has_the_final_name(tmp_path):
    with pytest.raises(OSError, match="file"), whole_file(tmp_path / "file") as unfinished:
        (unfinished / "below").write_text("half")
    with whole_folder(tmp_path / "folder") as unfinished, whole_folder(tmp_path / "folder") as other:
        (unfinished / "content").write_text("whole")
        (other / "content").write_text("whole")
    (tmp_path / ".part.0.unfinished").write_text("half")
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "late"):
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


def test_a_folder_or_file_of_something_else_is_no_output(tmp_path):
    (tmp_path / "thesis.tex").touch()
    for path in (tmp_path, tmp_path / "thesis.tex"):
        with pytest.raises(CorpusError, match="no output of this command; name a new folder"):
            read_manifest(path)


@pytest.mark.parametrize("given", ["s3://bucket/x", "hdfs://h/x", "file:///tmp/x", "", "~nobody-here/x"])
def test_what_is_no_path_of_this_machine_is_refused_by_its_argument(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    paths = {"source": "in", "output_folder": "out"}
    for argument, name in (("source", "INPUT"), ("output_folder", "OUTPUT")):
        with pytest.raises(CorpusError, match=f"^{name} .*(a URL|empty|home directory that is not known)"):
            NetworkFlags(hidden_size=2).parameters(CorpusFlags(**paths | {argument: given}))
    if given:
        with pytest.raises(CorpusError, match=r"^--vectors (is|~nobody-here/x begins)"):
            NetworkFlags(hidden_size=2, vectors=f"t={given}").parameters(CorpusFlags(**paths))
    assert not list(tmp_path.iterdir())


def test_a_home_directory_is_found_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    corpus = CorpusFlags(source="~/in", output_folder="~/out")
    assert (corpus.source_path, corpus.output_path) == (tmp_path / "in", tmp_path / "out")
    given = NetworkFlags(hidden_size=2, vectors="t=~/v.txt").parameters(corpus)
    assert given.vectors == f"t={tmp_path}/v.txt"


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError("[Errno 28] No space left on device")]
)
def test_a_full_disk_is_told_whoever_met_it(error):
    assert "No space left on device; put that right" in str(unwritable(error))
