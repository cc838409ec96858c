"""Converted folders are memory-mapped and shared; incomplete or outdated ones are converted again."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from unrolled_server.word_vectors import mapped_file, open_vectors
from unrolled_server.word_vectors.source_file import source_identity

TIMEOUT_S = 120
# Reads every row, then waits for a line before it prints what the system counts for the mapping.
MAPS_IT = """
import sys
from pathlib import Path
from unrolled_server.word_vectors import open_vectors
table = open_vectors("test", Path(sys.argv[1]), cache_directory=Path(sys.argv[2]))
print(float(table.rows.sum()), table.find(["w1"])[0], flush=True)
sys.stdin.readline()
print(Path("/proc/self/smaps").read_text())
"""


@pytest.fixture
def opened(tmp_path, source):
    """A function that opens the source, also after changes."""
    return lambda: open_vectors("test", source, cache_directory=tmp_path / "cache")


@pytest.fixture
def converted(tmp_path, opened) -> Path:
    """The converted folder."""
    opened()
    (folder,) = (tmp_path / "cache").glob("*.table")
    return folder


def test_rows_are_mapped_aligned_and_read_only(opened):
    rows = opened().rows
    assert isinstance(rows, np.memmap)
    assert (rows.dtype, rows.flags.c_contiguous, rows.ctypes.data % 64) == (np.float32, True, 0)
    with pytest.raises(ValueError, match="read-only"):
        rows[0] = 0


def test_a_current_folder_is_not_converted_again(opened, converted):
    made = converted.stat()
    opened()
    assert (converted.stat().st_ino, converted.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)


@pytest.mark.parametrize("change", ["content of equal length", "time", "length"])
def test_a_changed_source_is_converted_again(opened, converted, source, change):
    made = converted.stat().st_ino
    if change == "length":
        source.write_text("one 7 8 9\n")
    elif change == "content of equal length":
        source.write_text("one 7 8 9\ntwo 4 5 6\n")
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    table = opened()
    assert converted.stat().st_ino != made
    assert table.rows[0].tolist() == ([1, 2, 3] if change == "time" else [7, 8, 9])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


FILES = ["rows.npy", "mean.npy", "hashes.npy", "order.npy", "offsets.npy", "text.npy", "meta.json"]
DAMAGES = {
    "nothing in it": lambda _: b"",
    "half of it": lambda whole: whole[: len(whole) // 2],
    "the last byte missing": lambda whole: whole[:-1],
    "another first byte": lambda whole: b"\0" + whole[1:],
    "a bit of the header flipped": lambda whole: whole[:12] + bytes([whole[12] ^ 1]) + whole[13:],
    "a bracket lost": lambda whole: whole.replace(b"}", b"{"),
    "zeros": lambda whole: bytes(len(whole)),
    "text": lambda _: b"the 1 2 3\n" * 1000,
    "an archive": lambda _: b"PK\x03\x04",
}


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_damaged_file_is_converted_again(opened, converted, name):
    whole = contents(converted)
    assert set(whole) == set(FILES)
    for damage, damaged in DAMAGES.items():
        (converted / name).write_bytes(damaged(whole[name]))
        assert opened().rows.tolist() == [[1, 2, 3], [4, 5, 6]], damage
        assert contents(converted) == whole, damage


@pytest.mark.parametrize("name", FILES)
def test_a_folder_with_a_missing_file_is_converted_again(opened, converted, name):
    whole = contents(converted)
    (converted / name).unlink()
    opened()
    assert contents(converted) == whole


def test_a_folder_of_another_table_is_not_used(opened, converted, table_of):
    table_of("a 1 2\nb 3 4\nc 5 6\n", "other.txt")
    (other,) = set(converted.parent.glob("*.table")) - {converted}
    shutil.copy(other / "rows.npy", converted)
    assert opened().rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    shutil.rmtree(converted)
    other.rename(converted)
    assert opened().rows.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_folder_that_is_replaced_during_opening_is_not_used(converted, source, monkeypatch):
    def replace_and_open(*args, **options):
        if converted.exists():
            shutil.copytree(converted, converted.with_name("new"))
            shutil.rmtree(converted)
            converted.with_name("new").rename(converted)
        monkeypatch.undo()
        return np.lib.format.open_memmap(*args, **options)

    monkeypatch.setattr(np.lib.format, "open_memmap", replace_and_open)
    identity = source_identity(source)
    assert mapped_file.open_folder(converted, identity) is None
    assert mapped_file.open_folder(converted, identity) is not None


def test_a_folder_of_another_version_is_converted_again(opened, converted, monkeypatch):
    before = contents(converted)
    monkeypatch.setattr(mapped_file, "FORMAT_VERSION", mapped_file.FORMAT_VERSION + 1)
    assert opened().find(["two"]).tolist() == [1]
    assert contents(converted) != before


def test_an_open_table_stays_valid_when_its_folder_is_replaced(opened, converted, source):
    table = opened()
    source.write_text("one 7 8 9\n")
    opened()
    assert table.rows.tolist() == [[1, 2, 3], [4, 5, 6]]


def test_a_current_folder_is_opened_without_a_lock_file(opened, converted):
    (lock,) = converted.parent.glob("*.lock")
    lock.unlink()
    opened()
    assert list(converted.parent.iterdir()) == [converted]


def test_files_of_one_name_in_two_folders_do_not_collide(tmp_path):
    for folder, value in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "v.txt").write_text(f"w {value}\n")
        os.utime(tmp_path / folder / "v.txt", ns=(1, 1))
    tables = [open_vectors("v", tmp_path / folder / "v.txt", cache_directory=tmp_path) for folder in "ab"]
    assert [table.rows.item() for table in tables] == [1, 2]


def test_the_digest_depends_on_words_and_values(table_of):
    digest = table_of("a 1 2\nb 3 4\n").digest
    assert re.fullmatch("[0-9a-f]{16}", digest)
    assert table_of("2 2\na 1.0 2e0\nb 3 4\n", "word2vec.vec").digest == digest
    others = ["a 1 2\nc 3 4\n", "a 1 2\nb 3 5\n", "b 3 4\na 1 2\n", "a 1 2\n", "a 1\nb 2\nc 3\nd 4\n"]
    others += ["ab 1 2\nc 3 4\n", "a 1 2\nbc 3 4\n"]
    assert len({digest, *(table_of(text, "other.txt").digest for text in others)}) == 1 + len(others)


def test_the_mean_is_summed_in_float64_row_by_row(table_of):
    rows = np.random.default_rng(0).standard_normal((5_000, 3)).astype(np.float32)
    table = table_of("".join(f"w{at} {' '.join(map(str, row))}\n" for at, row in enumerate(rows.tolist())))
    total = np.zeros(3)
    for row in rows:
        total += row
    assert table.mean.tobytes() == (total / len(rows)).astype(np.float32).tobytes()


def test_opening_loads_neither_torch_nor_grpc():
    loaded = (
        "import sys, unrolled_server.word_vectors\n"
        "print(sorted({'torch', 'grpc', 'pydantic'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def mapped_kib(smaps, file_name):
    """Returns the sum of each counter, in KiB, over the mappings of one file."""
    counts: dict[str, int] = {}
    is_ours = False
    for line in smaps.splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_ours = line.endswith(file_name)
        elif is_ours and line.endswith(" kB"):
            key, value, _ = line.split()
            counts[key] = counts.get(key, 0) + int(value)
    return counts


@pytest.mark.skipif(sys.platform != "linux", reason="smaps is Linux's")
def test_two_processes_share_the_memory(tmp_path, source):
    source.write_text("".join(f"w{at} {' '.join(['0.25'] * 100)}\n" for at in range(10_000)))
    table = open_vectors("test", source, cache_directory=tmp_path / "cache")
    command = [sys.executable, "-c", MAPS_IT, str(source), str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for process in (one, other):
            assert process.stdout.readline() == "250000.0 1\n"
        smaps, _ = one.communicate("go on\n", timeout=TIMEOUT_S)  # the other still has it mapped
        other.communicate("go on\n", timeout=TIMEOUT_S)
    mapped = mapped_kib(smaps, "rows.npy")
    assert mapped["Rss:"] >= table.rows.nbytes >> 10
    assert mapped["Shared_Clean:"] + mapped["Shared_Dirty:"] >= table.rows.nbytes >> 10
    assert mapped["Pss:"] <= 0.6 * mapped["Rss:"]
    assert mapped["Anonymous:"] == 0
