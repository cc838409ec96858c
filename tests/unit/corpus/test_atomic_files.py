"""Files and folders whose writer fails."""

import pytest

pytest.importorskip("pyarrow")

from unrolled_corpus.atomic_files import atomic_file, atomic_folder, remove_unfinished

pytestmark = pytest.mark.corpus


def test_leftovers_of_a_killed_writer_are_removed_and_never_have_the_final_name(tmp_path):
    with pytest.raises(OSError, match="file"), atomic_file(tmp_path / "file") as unfinished:
        (unfinished / "below").write_text("half")
    with atomic_folder(tmp_path / "folder") as unfinished, atomic_folder(tmp_path / "folder") as other:
        (unfinished / "content").write_text("whole")
        (other / "content").write_text("whole")
    (tmp_path / ".part.0.unfinished").write_text("half")
    with pytest.raises(FileNotFoundError), atomic_folder(tmp_path / "late"):
        remove_unfinished(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
