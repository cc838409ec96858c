"""A conversion is complete or absent, whether it fails, is killed or runs in several processes."""

import errno
import fcntl
import re
import signal
import subprocess
import sys
import threading

import pytest
from unrolled_server.word_vectors import VectorsError, conversion, open_vectors
from unrolled_server.word_vectors.conversion import Conversion
from unrolled_server.word_vectors.source_file import source_identity

TIMEOUT_S = 120
CANCELLED = "is not converted, because the conversion was cancelled"
OPEN = """
import sys
from pathlib import Path
from unrolled_server.word_vectors import open_vectors
print(open_vectors("test", Path(sys.argv[1]), cache_directory=Path(sys.argv[2])).digest)
"""
# The moment before the new folder takes its place is the last at which a kill could leave a part of one.
KILLED_BEFORE_ITS_PLACE = """
import os, signal, pathlib
pathlib.Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
"""
NO_ROOM = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))
"""


def process(code, *arguments, **options):
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)


def conversion_of(source, folder, **options):
    options = {"identity": source_identity(source), "stop": threading.Event(), **options}
    return Conversion(source=source, target=folder / "target.table", **options)


def test_a_malformed_file_leaves_no_table(tmp_path, source):
    source.write_text("a 1 2\nb 3\n")
    for _ in range(2):
        with pytest.raises(VectorsError, match="line 2"):
            open_vectors("test", source, cache_directory=tmp_path / "cache")
        assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_a_killed_conversion_leaves_no_table(tmp_path, source):
    cache = tmp_path / "cache"
    with process(KILLED_BEFORE_ITS_PLACE + OPEN, source, cache) as killed:
        assert killed.wait(TIMEOUT_S) == -signal.SIGKILL
    assert {path.suffix for path in cache.iterdir()} == {".lock", ".unfinished"}
    assert open_vectors("test", source, cache_directory=cache).rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert {path.suffix for path in cache.iterdir()} == {".lock", ".table"}


@pytest.mark.parametrize("folder", ["target.unfinished", "target.table"])
def test_leftovers_of_another_conversion_are_removed(tmp_path, source, folder):
    conversion = conversion_of(source, tmp_path)
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "left_over").touch()
    conversion.run()
    assert "meta.json" in {path.name for path in conversion.target.iterdir()}
    assert not list(tmp_path.rglob("left_over"))


def test_processes_that_open_a_file_at_the_same_time_all_get_the_table(tmp_path, source):
    source.write_text("".join(f"w{at} {at} {at / 3}\n" for at in range(20_000)))
    processes = [process(OPEN, source, tmp_path / "cache") for _ in range(3)]
    digests = [each.communicate(timeout=TIMEOUT_S)[0] for each in processes]
    assert digests == [f"{open_vectors('test', source, cache_directory=tmp_path / 'cache').digest}\n"] * 3


def test_a_conversion_by_another_process_is_reused(tmp_path, source, caplog):
    caplog.set_level("INFO")
    conversion = conversion_of(source, tmp_path)
    conversion.run()
    made = conversion.target.stat().st_ino
    caplog.clear()
    conversion.run()  # as if it had waited for the lock meanwhile
    assert conversion.target.stat().st_ino == made
    assert not caplog.text


def test_waiting_for_another_process_is_logged_and_can_be_cancelled(tmp_path, source, caplog):
    caplog.set_level("INFO")
    stop = threading.Event()
    stop.set()
    with (tmp_path / "target.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as another process does; a FileLock of this thread is an error
        with pytest.raises(VectorsError, match=CANCELLED):
            conversion_of(source, tmp_path, stop=stop).run()
    assert f"waiting for another process, which converts {source}" in caplog.text


def test_a_cancelled_conversion_leaves_no_files(tmp_path, source):
    stop = threading.Event()
    stop.set()
    with pytest.raises(VectorsError, match=CANCELLED):
        conversion_of(source, tmp_path / "cache", stop=stop).run()
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_a_source_that_changes_during_conversion_is_refused(tmp_path, source):
    earlier = (source.stat().st_size, 1)
    with pytest.raises(VectorsError, match="changed while it was read; start again when it is complete"):
        conversion_of(source, tmp_path, identity=earlier).run()


def test_a_cache_that_cannot_be_written_is_an_error_that_names_the_setting(tmp_path, source):
    (tmp_path / "taken").write_text("a file, no directory")
    reason = f"{source} cannot be converted into {tmp_path}/taken: File exists; name a directory that can be "
    with pytest.raises(VectorsError, match=f"^{re.escape(reason)}"):
        open_vectors("test", source, cache_directory=tmp_path / "taken")


def test_a_full_disk_is_an_error_that_names_the_setting(tmp_path, source):
    cache = tmp_path / "cache"
    with process(NO_ROOM + OPEN, source, cache, stderr=subprocess.PIPE) as crowded:
        _, errors = crowded.communicate(timeout=TIMEOUT_S)
    assert f"{source} cannot be converted into {cache}: File too large; name a directory that" in errors
    assert {path.suffix for path in cache.iterdir()} == {".lock"}


def test_a_file_system_without_locks_is_an_error_that_names_the_setting(tmp_path, source, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    cache = tmp_path / "cache"
    with pytest.raises(VectorsError, match="Function not implemented; name a directory that can be written"):
        open_vectors("test", source, cache_directory=cache)
    assert {path.suffix for path in cache.iterdir()} == {".lock"}


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(VectorsError, match=r"none\.txt cannot be read: No such file or directory"):
        open_vectors("test", tmp_path / "none.txt", cache_directory=tmp_path)


def test_a_conversion_and_its_progress_are_logged(tmp_path, source, caplog, monkeypatch):
    caplog.set_level("INFO")
    monkeypatch.setattr(conversion, "PROGRESS_S", -1.0)
    conversion_of(source, tmp_path).run()
    assert f"converting {source} (0 MiB), once" in caplog.text
    assert f"converting {source}: 2 words so far" in caplog.text
    assert "converted 2 words of 3 values in" in caplog.text
