"""The wheel is complete, and its client works without torch at both ends of the protobuf range."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

# The lowest versions that pyproject.toml allows, and the newest tested ones, those of the lock.
LOWEST = ["grpcio==1.81.1", "protobuf==6.33.5", "numpy==1.26.4; python_version < '3.13'"]
NEWEST = ["--constraint", str(ROOT / "constraints.txt")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built like a release."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT]
    pins = {name: str(ROOT / "constraints.txt") for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}
    subprocess.run(command, check=True, capture_output=True, timeout=200, env={**os.environ, **pins})
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module", params=[LOWEST, NEWEST], ids=["lowest", "newest"])
def python_without_torch(request, wheel, tmp_path_factory):
    """The interpreter of an environment with only the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, wheel, *request.param], check=True, timeout=200)
    return python


@pytest.fixture(scope="module")
def experience(python_without_torch, server_address):
    """The client's results in that environment; warnings are errors."""
    command = [python_without_torch, "-I", "-W", "error", HERE / "use_client.py", server_address]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60).stdout)


def test_the_wheel_contains_the_typed_packages_and_the_contract(wheel):
    """The wheel contains only the packages, with the .proto file and type markers for other tools."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}

    assert tops == {"unrolled", "unrolled_client", "unrolled_corpus", "unrolled_loadtest", "unrolled_server"}
    assert {f"{package}/py.typed" for package in tops} <= set(names)
    assert "unrolled/v1/forward.proto" in names


def test_the_wheel_carries_its_licence_and_no_tools(wheel):
    """The metadata has no extra with the project's development tools."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    text = archive.read(metadata).decode()

    assert metadata.replace("METADATA", "licenses/LICENSE") in archive.namelist()
    assert "License-Expression: Apache-2.0" in text
    assert "pytest" not in text.partition("\n\n")[0]


def test_the_client_returns_the_lessons_numbers_without_torch(experience):
    """The client's base dependencies suffice for a call."""
    outputs = np.array(experience["outputs"])

    assert not experience["torch_is_installed"]
    assert outputs.shape == (3, 5, 2)
    assert outputs[0].round(4).tolist() == [
        [-0.7497, -0.6135],
        [-0.5753, -0.0070],
        [-0.9077, -0.3205],
        [-0.9141, -0.2142],
        [-0.8996, 0.3307],
    ]


def test_computing_in_process_needs_the_local_extra(experience):
    """Client.local() says in one sentence what to install."""
    assert experience["local_refusal"].endswith("pip install 'unrolled[local]'")
    assert ". " not in experience["local_refusal"]


@pytest.mark.parametrize(
    ("command", "extra"), [("unrolled", "cli"), ("unrolled-server", "server"), ("unrolled-map", "ray")]
)
def test_installed_commands_name_the_extra_that_is_missing(python_without_torch, command, extra):
    """The installed scripts print a version, and otherwise one line instead of a traceback."""
    script = python_without_torch.with_name(command)
    version = subprocess.run([script, "--version"], capture_output=True, text=True, check=True).stdout
    done = subprocess.run([script], capture_output=True, text=True, check=False)
    assert version.startswith(f"{command} ")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.endswith(f"pip install 'unrolled[{extra}]'\n")
