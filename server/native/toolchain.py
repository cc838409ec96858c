"""Compiles the C sources: with the system's compiler, or with ziglang without one and for other machines."""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

SOURCES = Path(__file__).with_name("src")
# CFLAGS is not read, because -ffast-math and -march=native would change results. Warnings are errors only in
# run_tests.py: those of a newer compiler should not break an installation.
FLAGS = (
    "-std=gnu11",
    "-O2",
    "-g0",  # ziglang adds debug information by default
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
)
_AVX2 = ("-DUR_ISA_AVX2", "-mavx2", "-mfma")
_AVX512 = ("-DUR_ISA_AVX512", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma")
_NEON = ("-DUR_ISA_NEON",)
_PORTABLE = ("-DUR_ISA_PORTABLE",)
# kernels.c is compiled once for each instruction set of a machine.
KERNELS: dict[str, dict[str, tuple[str, ...]]] = {
    "x86_64": {"avx512": _AVX512, "avx2": _AVX2, "portable": _PORTABLE},
    "aarch64": {"neon": _NEON, "portable": _PORTABLE},
}
TARGET_VARIABLE = "UNROLLED_CORE_TARGET"
# Its values: ziglang's name of the machine, and the platform tag of the wheel.
TARGETS = {
    "x86_64-linux-gnu": ("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64"),
    "aarch64-linux-gnu": ("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64"),
    "x86_64-macos": ("x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "aarch64-macos": ("aarch64-macos.11.0", "macosx_11_0_arm64"),
}


class BuildError(Exception):
    """Says in one sentence why the core cannot be built, with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A C compiler's command and the machine that it compiles for."""

    command: tuple[str, ...]
    machine: str
    is_macos: bool = False
    platform_tag: str = ""
    is_ziglang: bool = False


def choose(environment: Mapping[str, str] = os.environ) -> Toolchain:
    """Returns the toolchain for the machine that UNROLLED_CORE_TARGET names, by default for this one."""
    if target := environment.get(TARGET_VARIABLE):
        if target not in TARGETS:
            raise BuildError(f"{TARGET_VARIABLE} is {target!r}; it must be one of {', '.join(TARGETS)}")
        return _ziglang(*TARGETS[target])
    machine = _this_machine()
    is_macos = sys.platform == "darwin"
    if command := find_compiler(environment):
        return Toolchain(command=command, machine=machine, is_macos=is_macos, platform_tag=_platform_tag())
    linux = "linux-gnu.2.17" if platform.libc_ver()[0] == "glibc" else "linux-musl"
    return _ziglang(f"{machine}-{'macos' if is_macos else linux}", _platform_tag())


def find_compiler(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Returns the command in CC, else the first of cc, gcc and clang that works, else nothing."""
    if command := environment.get("CC"):
        return tuple(shlex.split(command))
    found = (shutil.which(name, path=environment.get("PATH")) for name in ("cc", "gcc", "clang"))
    return next(((path,) for path in found if path and _works(path)), ())


def build_library(toolchain: Toolchain, folder: Path) -> Path:
    """Compiles all sources and returns the shared library, in the folder."""
    if toolchain.is_ziglang and find_spec("ziglang") is None:
        raise BuildError(
            "no C compiler was found: install one (apt-get install gcc libc6-dev) or pip install ziglang"
        )
    objects = compile_sources(toolchain, folder)
    if toolchain.is_macos:
        library, flags = folder / "libunrolled_core.dylib", ["-dynamiclib"]
    else:
        # -z defs: an unknown symbol is an error of this build, not of the first import.
        library, flags = folder / "libunrolled_core.so", ["-shared", "-Wl,-z,defs", "-Wl,--as-needed"]
    if toolchain.is_ziglang:
        # ziglang would compile its run-time library first, for 25 s. The core uses only the C library.
        flags.append("-nostdlib")
    run([*toolchain.command, *flags, *objects, "-lm", "-lpthread", "-lc", "-o", library], folder)
    return library


def compile_sources(toolchain: Toolchain, folder: Path, flags: Sequence[str] = FLAGS) -> list[Path]:
    """Compiles all sources in parallel and returns the object files, in the folder."""
    units: dict[Path, tuple[Path, Sequence[str]]] = {}
    for source in sorted(SOURCES.glob("*.c")):
        if source.stem == "kernels":
            for isa, isa_flags in KERNELS[toolchain.machine].items():
                units[folder / f"kernels-{isa}.o"] = source, isa_flags
        else:
            units[folder / f"{source.stem}.o"] = source, ()

    def compile_unit(made: Path) -> None:
        source, isa_flags = units[made]
        run([*toolchain.command, *flags, *isa_flags, "-c", source, "-o", made], folder)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_unit, units))  # list() raises the errors
    return list(units)


def run(command: Iterable[str | Path], folder: Path) -> None:
    """Runs a command of a compiler; ziglang gets its cache in the folder instead of in the user's home."""
    words = [str(word) for word in command]
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig-cache"), **os.environ}
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    except FileNotFoundError:
        raise BuildError(
            f"the C compiler {words[0]!r} was not found: set CC to another one or unset it"
        ) from None
    if done.returncode:
        raise BuildError(f"the C compiler failed: {shlex.join(words)}\n{done.stderr}")


def _ziglang(target: str, platform_tag: str) -> Toolchain:
    machine, system = target.split("-")[:2]
    return Toolchain(
        # It compiles for the CPU of this machine unless both options are there.
        command=(sys.executable, "-m", "ziglang", "cc", "-target", target, "-mcpu=baseline"),
        machine=machine,
        is_macos=system.startswith("macos"),
        platform_tag=platform_tag,
        is_ziglang=True,
    )


def _works(compiler: str) -> bool:
    """Returns whether a compiler runs and finds the C library's headers, which Debian packages separately."""
    command = [compiler, "-x", "c", "-c", "-o", os.devnull, "-"]
    program = "#include <math.h>\n#include <stdlib.h>\n"
    return subprocess.run(command, input=program, capture_output=True, text=True, check=False).returncode == 0


def _this_machine() -> str:
    machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    bits = 64 if sys.maxsize > 2**32 else 32
    if sys.platform not in {"linux", "darwin"} or machine not in KERNELS or bits == 32:  # noqa: PLR2004
        raise BuildError(
            f"this is a {bits}-bit Python on {sys.platform} {machine}; the core needs 64 bits, Linux or "
            "macOS, and x86-64 or ARM64: use the SDK here and run the server on such a machine"
        )
    return machine


def _platform_tag() -> str:
    """Returns the wheel's tag for what the system's compiler makes: for this release of the system."""
    if sys.platform == "darwin":
        return f"macosx_{platform.mac_ver()[0].split('.')[0]}_0_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
