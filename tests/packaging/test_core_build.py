"""The build of unrolled-core chooses a compiler, names what is missing, and makes complete distributions."""

import json
import os
import platform
import re
import subprocess
import sys
import tomllib
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "server/native"
PINS = {name: str(ROOT / "constraints.txt") for name in ("PIP_CONSTRAINT", "PIP_BUILD_CONSTRAINT")}


def load(name):
    """Returns a module of the build, which is not installed."""
    spec = spec_from_file_location(name, NATIVE / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


toolchain = load("toolchain")


@pytest.fixture
def compiler(tmp_path):
    """A compiler `cc` that records its arguments in a file beside it."""
    return write_compiler(
        tmp_path, f'import json, sys; print(json.dumps(sys.argv[1:]), file=open("{tmp_path}/calls", "a"))'
    )


def write_compiler(folder, program):
    path = folder / "cc"
    path.write_text(f"#!{sys.executable} -S\n{program}\n")
    path.chmod(0o755)
    return path


def test_the_systems_compiler_is_used(compiler):
    chosen = toolchain.choose({"PATH": str(compiler.parent)})
    assert (chosen.command, chosen.is_ziglang) == ((str(compiler),), False)
    assert chosen.platform_tag.endswith(platform.machine())


def test_cc_names_another_compiler_with_options(compiler):
    assert toolchain.choose({"PATH": str(compiler.parent), "CC": "ccache gcc"}).command == ("ccache", "gcc")


def test_ziglang_is_used_if_the_compiler_does_not_work(tmp_path):
    """This happens without the C library's headers, which are a package of their own."""
    write_compiler(tmp_path, "raise SystemExit(1)")
    assert toolchain.choose({"PATH": str(tmp_path)}).is_ziglang


@pytest.mark.parametrize("environment", [{"PATH": ""}, {toolchain.TARGET_VARIABLE: "aarch64-linux-gnu"}])
def test_ziglang_never_compiles_for_the_cpu_of_this_machine(environment):
    chosen = toolchain.choose(environment)
    assert chosen.is_ziglang
    assert "-target" in chosen.command
    assert chosen.command[-1] == "-mcpu=baseline"


def test_kernels_are_compiled_for_each_instruction_set_and_other_sources_once(
    compiler, tmp_path, monkeypatch
):
    monkeypatch.setenv("CFLAGS", "-ffast-math -march=native")
    chosen = toolchain.choose({"PATH": str(compiler.parent)})
    (tmp_path / "calls").unlink()

    library = toolchain.build_library(chosen, tmp_path)

    *compiled, linked = [json.loads(line) for line in (tmp_path / "calls").read_text().splitlines()]
    sources = [Path(call[call.index("-c") + 1]) for call in compiled]
    kernels = [call for call, source in zip(compiled, sources, strict=True) if source.stem == "kernels"]
    defined = {flag for call in kernels for flag in call if flag.startswith("-DUR_ISA")}
    assert len(kernels) == len(defined) == len(toolchain.KERNELS[chosen.machine])
    assert sorted({*sources}) == sorted(NATIVE.glob("src/*.c"))
    assert len(sources) == len({*sources}) - 1 + len(kernels)
    assert {call[-1] for call in compiled} < {*linked}
    assert linked[-1] == str(library)
    for call in compiled:
        assert {"-O2", "-ffp-contract=off"} < {*call}
        assert not [flag for flag in call if re.match("-march|-mtune|-Ofast|-ffast-math|-Werror", flag)]


@pytest.mark.parametrize(
    ("patched", "value"),
    [("platform.machine", lambda: "s390x"), ("sys.maxsize", 2**31 - 1), ("sys.platform", "win32")],
)
def test_an_unsupported_machine_is_refused_with_the_remedy(monkeypatch, patched, value):
    monkeypatch.setattr(patched, value)
    with pytest.raises(
        toolchain.BuildError, match=r"the core needs 64 bits.*run the server on such a machine$"
    ):
        toolchain.choose({})


def test_an_unknown_target_is_refused_with_the_known_ones():
    with pytest.raises(toolchain.BuildError, match=r"UNROLLED_CORE_TARGET is 'vax'; .* x86_64-linux-gnu, "):
        toolchain.choose({"UNROLLED_CORE_TARGET": "vax"})


def test_a_missing_compiler_is_named(tmp_path):
    chosen = toolchain.choose({"CC": str(tmp_path / "none")})
    with pytest.raises(toolchain.BuildError, match="/none' was not found: set CC to another one or unset it"):
        toolchain.build_library(chosen, tmp_path)


def test_an_error_of_the_compiler_is_shown(tmp_path):
    chosen = toolchain.choose({"CC": str(write_compiler(tmp_path, "raise SystemExit('no such flag')"))})
    with pytest.raises(toolchain.BuildError, match=r"the C compiler failed: .*\nno such flag"):
        toolchain.build_library(chosen, tmp_path)


def test_it_has_the_version_that_the_server_requires_and_the_same_licence():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (version,) = re.findall('__version__ = "(.*)"', (NATIVE / "unrolled_core/__init__.py").read_text())
    assert f"unrolled-core=={version}" in project["optional-dependencies"]["server"]
    assert version == project["version"]
    assert (NATIVE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


@pytest.mark.long
def test_wheels_are_complete_from_the_source_archive_and_by_ziglang(tmp_path):
    """Without a compiler the build requires ziglang by itself. No build leaves a file in the source tree."""
    before = files_of_the_core()
    build = [sys.executable, "-m", "build", "--outdir"]
    environment = {**os.environ, **PINS}
    subprocess.run([*build, tmp_path / "cc", NATIVE], check=True, env=environment, timeout=200)
    environment["PATH"] = str(Path(sys.executable).parent)
    subprocess.run([*build, tmp_path / "zig", "--wheel", NATIVE], check=True, env=environment, timeout=200)

    assert files_of_the_core() == before
    wheels = list(tmp_path.glob("*/*.whl"))
    assert len(wheels) == 2
    subprocess.run([sys.executable, NATIVE / "check_wheels.py", *wheels], check=True, timeout=100)


def files_of_the_core():
    return {path for path in NATIVE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
