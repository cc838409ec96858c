"""The Dockerfile copies what there is, and starts and probes commands that there are."""

import json
import re
import tomllib
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def instructions(name):
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)


def test_what_is_copied_is_there_and_not_ignored():
    copied = [name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    assert {f"!{name}" for name in copied} == {line for line in ignored if line.startswith("!")}


def test_it_starts_a_command_of_the_project():
    (entry,) = instructions("ENTRYPOINT")
    assert json.loads(entry)[0] in PROJECT["scripts"]


def test_its_health_check_is_the_probe():
    (check,) = instructions("HEALTHCHECK")
    python, flag, module = json.loads(check.partition(" CMD ")[2])
    assert (python, flag) == ("python", "-m")
    assert find_spec(module)


def test_it_runs_as_nobody_in_particular_on_the_port_that_it_exposes():
    (user,), (port,) = instructions("USER"), instructions("EXPOSE")
    assert user == "10001:10001"
    assert f'UNROLLED_ADDRESS="[::]:{port}"' in DOCKERFILE


def test_its_python_is_one_that_the_project_supports():
    (version,) = re.findall(r"^ARG PYTHON_VERSION=3\.(\d+)$", DOCKERFILE, re.MULTILINE)
    assert PROJECT["requires-python"] == f">=3.{version}"
