"""The set-up of the make targets checks the Python version first and leaves no incomplete environment."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def set_up(tmp_path):
    """A function that runs a copy of the script in an empty project, away from the checkout's .venv."""
    (tmp_path / ".ci").mkdir()
    script = shutil.copy(ROOT / ".ci/set-up", tmp_path / ".ci/set-up")
    (tmp_path / "constraints.txt").touch()

    def run(*arguments, python=sys.executable, **variables):
        environment = {**os.environ, "PYTHON": str(python), "TORCH_INDEX": "", "GOALS": "demo", **variables}
        environment.pop("VENV", None)
        command = [script, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    return run


def test_an_old_python_is_named_with_the_remedy(set_up, tmp_path):
    old = tmp_path / "python3.10"
    pretend = "import sys; sys.version_info = (3, 10, 13, 'final', 0); exec(sys.argv[2])"
    old.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(pretend)} "$@"\n')
    old.chmod(0o755)

    done = set_up("nothing", python=old)

    assert done.returncode == 1
    assert done.stderr == "Python 3.11 or newer is needed; this is 3.10: make PYTHON=python3.12 demo\n"
    assert not (tmp_path / ".venv").exists()


def test_a_missing_python_is_named_with_the_remedy(set_up, tmp_path):
    done = set_up("nothing", python="python9.99", GOALS="test")

    assert done.returncode == 1
    assert "python9.99 was not found: make PYTHON=python3.12 test" in done.stderr
    assert not (tmp_path / ".venv").exists()


def test_an_environment_without_a_working_python_is_named_with_the_remedy(set_up, tmp_path):
    """This happens when the linked Python was removed."""
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(tmp_path / "gone")

    done = set_up("nothing")

    assert done.returncode == 1
    assert done.stderr == ".venv has no Python that runs: rm -r .venv; make PYTHON=python3.12 demo\n"
    assert (tmp_path / ".venv").exists()


@pytest.mark.long
def test_an_incomplete_environment_is_removed(set_up, tmp_path):
    done = set_up("--no-index", "./no-such-package")

    assert done.returncode != 0
    assert ".venv is not complete and was removed" in done.stderr
    assert not (tmp_path / ".venv").exists()


@pytest.mark.long
def test_an_existing_environment_survives_a_failure(set_up, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / ".venv"], check=True)

    assert set_up("--no-index", "./no-such-package").returncode != 0
    assert (tmp_path / ".venv/bin/python").exists()
