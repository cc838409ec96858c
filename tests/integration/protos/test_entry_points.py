"""The installed commands: versions, missing extras, and broken standard output."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from unrolled.entry_points import EXTRAS, describe_missing

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
MODULES = {
    "unrolled": "unrolled_client",
    "unrolled-load": "unrolled_loadtest",
    "unrolled-server": "unrolled_server",
    "unrolled-map": "unrolled_corpus",
}


def run(code, *arguments, without):
    """Runs Python code where packages are not installed."""
    hide = f"import sys; sys.modules |= dict.fromkeys({without!r}); "
    command = [sys.executable, "-c", hide + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run_both_ways(command, *arguments, without):
    """Runs a command by its entry point, and by `python -m`."""
    module, function = PROJECT["scripts"][command].split(":")
    for code in (
        f"from {module} import {function}; {function}()",
        f"import runpy; runpy.run_module({MODULES[command]!r}, run_name='__main__', alter_sys=True)",
    ):
        yield run(code, *arguments, without=without)


@pytest.mark.parametrize("command", MODULES)
def test_each_command_prints_its_version_without_its_extra(command):
    """As a script and by python -m."""
    for done in run_both_ways(command, "--version", without=("typer", "torch", "ray")):
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{command} {version('unrolled')}\n"


@pytest.mark.parametrize(
    ("command", "without", "extra"),
    [
        ("unrolled", ("rich", "typer"), "cli"),
        ("unrolled", ("rich",), "cli"),
        ("unrolled-load", ("hdrh", "jinja2", "matplotlib", "typer"), "load"),
        ("unrolled-server", ("pydantic_settings", "torch"), "server"),
        ("unrolled-server", ("torch",), "server"),
        ("unrolled-map", ("pyarrow", "ray", "typer", "torch"), "ray"),
        pytest.param("unrolled-map", ("ray",), "ray", marks=pytest.mark.long),  # pyarrow is installed there
    ],
)
def test_a_missing_extra_is_one_line_that_names_it(command, without, extra):
    """As a script and by python -m, for each missing package."""
    for done in run_both_ways(command, "--help", without=without):
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"{command} needs packages that are not installed ({', '.join(without)}): "
            f"pip install 'unrolled[{extra}]'\n"
        )


@pytest.mark.parametrize("without", [("filelock", "unrolled_core"), ("unrolled_core",)])
def test_computing_in_process_without_its_extra_is_an_error_that_names_it(without):
    done = run("from unrolled.entry_points import load_in_process; load_in_process()", without=without)
    assert done.stderr.endswith(
        "ModuleNotFoundError: computing in this process needs packages that are not installed "
        f"({', '.join(without)}): pip install 'unrolled[local]'\n"
    )


EXTRA_OF = {"unrolled": "cli", "unrolled-load": "load", "unrolled-server": "server", "unrolled-map": "ray"}


@pytest.fixture(params=MODULES)
def installed_command(request):
    if describe_missing(EXTRA_OF[request.param]):
        pytest.skip("its extra is not installed")
    return request.param


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(installed_command, option):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-m", MODULES[installed_command], option]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment
        )
    assert done.returncode == 1
    assert done.stderr == (
        f"{installed_command}: standard output cannot be written: No space left on device\n"
    )


def test_closed_output_is_not_an_error(installed_command):
    """Some service managers start programs with closed standard output."""
    command = installed_command
    closed = ["sh", "-c", 'exec "$0" -m "$1" --help >&-', sys.executable, MODULES[command]]
    done = subprocess.run(closed, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr  # argparse writes its help there then


@pytest.mark.parametrize(
    "extra", [pytest.param(name, marks=pytest.mark.long) if name == "ray" else name for name in EXTRAS]
)
def test_the_modules_of_an_extra_are_those_that_it_installs(extra):
    """Each requirement of the extra has a module in the table, and vice versa."""
    installers = packages_distributions()
    modules = {name for module in EXTRAS[extra] for name in installers[module]}
    assert {_normal(name) for name in modules} == _requirements(extra)


def _requirements(extra):
    """Returns the distributions that an extra adds to the base, including those of nested extras."""
    names = set()
    for requirement in PROJECT["optional-dependencies"][extra]:
        name, nested = re.match(r"([\w-]+)(?:\[([\w,]+)\])?", requirement).groups()
        if name == "unrolled":
            names |= set().union(*map(_requirements, nested.split(",")))
        else:
            names.add(_normal(name))
    return names - {_normal(re.match(r"[\w-]+", base)[0]) for base in PROJECT["dependencies"]}


def _normal(name):
    return re.sub("[-_.]+", "-", name).lower()
