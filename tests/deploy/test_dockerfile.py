"""The Dockerfile copies and starts existing files, pins every version and removes only unused modules."""

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
CORE = tomllib.loads((ROOT / "server/native/pyproject.toml").read_text())
BUILD_REQUIREMENTS = [*PYPROJECT["build-system"]["requires"], *CORE["build-system"]["requires"], "ziglang"]
LOCK = (ROOT / "constraints.txt").read_text()
PINNED = {canonicalize_name(name) for name in re.findall(r"^([\w.-]+)==", LOCK, re.MULTILINE)}
# The module that imports tests: in a function that runs them.
MAINTENANCE = {"mpmath/__init__.py"}


@dataclass
class Stage:
    """One stage of the Dockerfile: its base and its instructions with their arguments."""

    base: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def arguments(self, *names):
        return [arguments for name, arguments in self.instructions if name in names]

    def copied(self):
        """Returns the names that the stage copies from the build context."""
        own = [line.split()[:-1] for line in self.arguments("COPY") if not line.startswith("--from=")]
        return {name for names in own for name in names}


def read_stages():
    """Returns the stages by name; the last one, which has no name, is the image."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")
    ]
    stages = {}
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, arguments = line.partition(" ")
        if name == "FROM":
            base, _, stage = arguments.partition(" AS ")
            stages[stage or "image"] = Stage(base)
        elif name and stages:
            list(stages.values())[-1].instructions.append((name, arguments.strip()))
    return stages


STAGES = read_stages()
IMAGE = STAGES["image"]
COPIED = set().union(*(stage.copied() for stage in STAGES.values()))
COMMANDS = {name: "\n".join(stage.arguments("RUN")) for name, stage in STAGES.items()}


def test_copied_files_exist_and_are_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {name for name in COPIED if not (ROOT / name).exists()} == set()
    tops = {name.partition("/")[0] for name in COPIED}
    assert {f"!{name}" for name in tops} == {line for line in ignored if line.startswith("!")}


def test_all_files_of_the_package_are_copied():
    packages = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    files = {PROJECT["readme"], *PROJECT["license-files"]}
    assert files | {package.partition("/")[0] for package in packages} <= STAGES["project"].copied()


def test_it_starts_a_command_of_the_project():
    (entry,) = IMAGE.arguments("ENTRYPOINT")
    assert json.loads(entry)[0] in PROJECT["scripts"]


def test_its_health_check_is_the_probe():
    (check,) = IMAGE.arguments("HEALTHCHECK")
    python, flag, module = json.loads(check.partition(" CMD ")[2])
    assert (python, flag) == ("python", "-m")
    assert find_spec(module)


def test_it_runs_as_an_unprivileged_user_on_the_exposed_port():
    (user,), (port,), (environment,) = map(IMAGE.arguments, ("USER", "EXPOSE", "ENV"))
    assert user == "10001:10001"
    assert f'UNROLLED_ADDRESS="[::]:{port}"' in environment


def test_its_python_is_supported_by_the_project():
    (version,) = re.findall(r"^ARG PYTHON_VERSION=3\.(\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert PROJECT["requires-python"] == f">=3.{version}"


def test_a_change_of_the_source_ships_one_layer():
    """The last copy adds the project; every earlier layer is built without the project's files."""
    *earlier, last = IMAGE.arguments("RUN", "COPY")
    assert last.split() == ["--from=project", "/opt/project", "/opt/unrolled"]
    assert "--from=dependencies /opt/unrolled /opt/unrolled" in earlier
    assert STAGES["project"].base == "dependencies"
    assert STAGES["dependencies"].copied() == {"constraints.txt"}
    assert STAGES[STAGES["dependencies"].base].copied() == set()


def downloaded_requirements():
    """Returns what the stage `requirements` writes into its file."""
    (program,) = re.findall(r'python -c "(.*)" > requirements.txt', COMMANDS["requirements"])
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    return run.stdout.split("\n")[:-1]


def test_all_requirements_but_the_core_are_downloaded():
    required = {*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["server"]}
    (core,) = required - {*downloaded_requirements()}
    assert Requirement(core).name == CORE["project"]["name"]


def test_the_core_is_built_beside_the_image():
    """Its compiler is in no stage that the image begins with or copies from."""
    assert [name for name, commands in COMMANDS.items() if "apt-get" in commands] == ["core"]
    assert "--from=core /build/wheels wheels" in STAGES["project"].arguments("COPY")
    assert "core" not in {stage.base for stage in STAGES.values()}
    assert not [line for line in IMAGE.arguments("COPY") if "--from=core" in line]


def test_no_layer_depends_on_the_commit():
    names = [name for name, _ in IMAGE.instructions]
    assert not {"RUN", "COPY", "ADD"}.intersection(names[names.index("ARG") :])


@pytest.mark.parametrize("stage", ["base", "dependencies", "project"])
def test_byte_code_does_not_depend_on_time_stamps(stage, tmp_path):
    """One command, compileall, compiles everything, because pip's byte code depends on time stamps."""
    for install in re.findall(r"pip install .*", COMMANDS[stage]):
        assert "--no-compile" in install
    (tmp_path / "module.py").write_text("")
    (flags,) = re.findall(r"python -m compileall (.* unchecked-hash)", COMMANDS[stage])
    subprocess.run([sys.executable, "-m", "compileall", *flags.split(), tmp_path], check=True, timeout=60)
    (compiled,) = tmp_path.rglob("*.pyc")
    assert compiled.read_bytes()[4:8] == (0b01).to_bytes(4, "little")  # PEP 552: by hash, unchecked


def test_the_lock_pins_the_build_requirements():
    """Two variables, because pip 25.3 reads another one for build backends."""
    assert {canonicalize_name(Requirement(line).name) for line in BUILD_REQUIREMENTS} <= PINNED
    for stage in ("core", "dependencies"):
        (environment,) = STAGES[stage].arguments("ENV")
        assert "PIP_CONSTRAINT=/build/constraints.txt" in environment.split()
        assert "PIP_BUILD_CONSTRAINT=/build/constraints.txt" in environment.split()


@pytest.mark.long
def test_the_lock_pins_the_dependencies_of_the_build_backend():
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    options = ["--report", "-", "--constraint", ROOT / "constraints.txt"]
    run = subprocess.run(
        [*command, *options, *BUILD_REQUIREMENTS], check=True, stdout=subprocess.PIPE, timeout=200
    )
    chosen = {canonicalize_name(each["metadata"]["name"]) for each in json.loads(run.stdout)["install"]}
    assert chosen
    assert chosen <= PINNED


@pytest.mark.skipif(torch.version.cuda is not None, reason="the image holds torch without CUDA")
def test_the_lock_pins_every_dependency_of_the_image():
    found = set()
    waiting = downloaded_requirements()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            waiting += requires(name) or []
    assert "torch" in found
    assert found <= PINNED


def removed_tests():
    """Returns the packages whose folders `tests` the Dockerfile removes."""
    (names,) = re.findall(r"find ([a-z ]+) -type d -name tests -prune -exec rm -rf", COMMANDS["dependencies"])
    return names.split()


@pytest.mark.long
@pytest.mark.parametrize("package", removed_tests())
def test_no_module_imports_the_removed_tests(package):
    importing = re.compile(r"^\s*(?:from\s+\S*\btests\b|(?:from\s+\S+\s+)?import\s.*\btests\b)", re.MULTILINE)
    folder = Path(find_spec(package).origin).parent
    files = [path for path in folder.rglob("*.py") if "tests" not in path.relative_to(folder).parts]
    importers = {path for path in files if importing.search(path.read_text(encoding="utf-8"))}
    assert files
    assert {path.relative_to(folder.parent).as_posix() for path in importers} <= MAINTENANCE


@pytest.mark.long
def test_a_server_and_its_probe_load_no_removed_module():
    command = [sys.executable, HERE / "list_loaded_tests.py"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=200)
    assert json.loads(run.stdout.splitlines()[-1]) == {"probe": 0, "loaded": []}
