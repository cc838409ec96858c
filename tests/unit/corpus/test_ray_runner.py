"""Ray's temporary folder and address; Ray is not started."""

import pytest

pytest.importorskip("pyarrow")

from pathlib import Path

from unrolled_corpus import ray_runner
from unrolled_corpus.errors import CorpusError
from unrolled_server.exit_codes import EXIT_ADDRESS

pytestmark = pytest.mark.corpus


def test_rays_folder_is_short_and_removed_at_the_end(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / ("x" * 60)))
    with ray_runner._temporary_folder() as folder:
        path = Path(folder)
        assert len(str(path.parent)) <= ray_runner._MAX_PARENT_BYTES
        (path / "session").mkdir()
    assert not path.exists()


def test_a_relative_folder_is_made_absolute(monkeypatch):
    monkeypatch.chdir("/tmp")
    monkeypatch.setenv("RAY_TMPDIR", ".")
    with ray_runner._temporary_folder() as folder:
        assert Path(folder).parent == Path("/tmp")


def test_without_a_usable_folder_the_error_names_tmpdir():
    with pytest.raises(CorpusError, match=r"x is longer than 26 bytes\); set TMPDIR to a folder"):
        ray_runner._temporary_folder(f"/{'x' * 60}")
    with pytest.raises(CorpusError, match=r"/proc/none: No such file or directory\); set TMPDIR"):
        ray_runner._temporary_folder("/proc/none")


@pytest.mark.parametrize(
    "address", ["", " ", "http://h:8265", "host", ":6379", "h:x", "h:6379/", "redis://h:6"]
)
def test_a_malformed_cluster_address_is_refused_with_the_right_form(address):
    with (
        pytest.raises(CorpusError, match=r"it is not HOST:PORT, ray://HOST:PORT or auto") as raised,
        ray_runner.ray_session(address),
    ):
        pass
    assert raised.value.exit_code == EXIT_ADDRESS
