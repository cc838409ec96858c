"""Compiles the C sources with the system's compiler, or with ziglang where there is none and for other machines."""

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
from pathlib import Path

SOURCES = Path(__file__).with_name("src")
# CFLAGS is ignored: -ffast-math or -march=native would change the bits. Warnings are errors in tests/run.py only, so
# that a newer compiler's warnings break no installation.
FLAGS = (
    "-std=c11",
    "-O2",
    "-fPIC",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-Wall",
    "-Wextra",
)
# kernels.c is compiled once for each instruction set of the machine.
_AVX2 = ("-DUR_ISA_AVX2", "-mavx2", "-mfma")
_AVX512 = ("-DUR_ISA_AVX512", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma")
_PORTABLE = ("-DUR_ISA_PORTABLE",)
KERNELS = {
    "x86_64": {"avx512": _AVX512, "avx2": _AVX2, "portable": _PORTABLE},
    "aarch64": {"neon": ("-DUR_ISA_NEON",), "portable": _PORTABLE},
}
# Machines that wheels are cross-built for: ziglang's name, and the platform tag of the wheel.
TARGETS = {
    "x86_64-linux-gnu": ("x86_64-linux-gnu.2.17", "manylinux_2_17_x86_64"),
    "aarch64-linux-gnu": ("aarch64-linux-gnu.2.17", "manylinux_2_17_aarch64"),
    "x86_64-macos": ("x86_64-macos.11.0", "macosx_11_0_x86_64"),
    "aarch64-macos": ("aarch64-macos.11.0", "macosx_11_0_arm64"),
}
TARGET_VARIABLE = "UNROLLED_CORE_TARGET"


class BuildError(Exception):
    """Why the core can't be built, in one sentence, with the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """A C compiler's command and the machine that it compiles for."""

    command: tuple[str, ...]
    machine: str
    is_macos: bool
    platform_tag: str
    requirements: list[str]


def choose(environment: Mapping[str, str] = os.environ) -> Toolchain:
    """Returns the compiler for the machine named by UNROLLED_CORE_TARGET, else for this machine."""
    if target := environment.get(TARGET_VARIABLE):
        if target not in TARGETS:
            raise BuildError(f"{TARGET_VARIABLE} is {target!r}; it must be one of {', '.join(TARGETS)}")
        return _zig(*TARGETS[target])
    _refuse_unsupported()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if command := find_compiler(environment):
        return Toolchain(
            command=command,
            machine=machine,
            is_macos=sys.platform == "darwin",
            platform_tag=_platform_tag(),
            requirements=[],
        )
    if sys.platform == "darwin":
        system = "macos"
    else:
        system = "linux-gnu.2.17" if platform.libc_ver()[0] == "glibc" else "linux-musl"
    return _zig(f"{machine}-{system}", _platform_tag())


def find_compiler(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Returns $CC, else the first of cc, gcc and clang that works, else nothing."""
    if command := environment.get("CC"):
        return tuple(shlex.split(command))
    found = (shutil.which(name, path=environment.get("PATH")) for name in ("cc", "gcc", "clang"))
    return next(((path,) for path in found if path and _works(path)), ())


def build_library(toolchain: Toolchain, folder: Path) -> Path:
    """Compiles all sources and returns the shared library, in the folder."""
    objects = compile_sources(toolchain, folder)
    if toolchain.is_macos:
        library, flags = folder / "libunrolled_core.dylib", ("-dynamiclib",)
    else:
        # The linker refuses unknown symbols here, not the loader on a user's machine.
        library, flags = folder / "libunrolled_core.so", ("-shared", "-Wl,-z,defs", "-Wl,--as-needed", "-pthread")
    run([*toolchain.command, *flags, *objects, "-lm", "-o", library], folder)
    return library


def compile_sources(toolchain: Toolchain, folder: Path, flags: Sequence[str] = FLAGS) -> list[Path]:
    """Compiles all sources in parallel and returns the object files, in the folder."""
    units = {folder / f"{source.stem}.o": (source, ()) for source in sorted(SOURCES.glob("*.c"))}
    if kernels := units.pop(folder / "kernels.o", None):
        variants = KERNELS.get(toolchain.machine, {"portable": _PORTABLE})
        units |= {folder / f"kernels-{name}.o": (kernels[0], isa) for name, isa in variants.items()}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [
            pool.submit(run, [*toolchain.command, *flags, *isa, "-c", source, "-o", made], folder)
            for made, (source, isa) in units.items()
        ]
        for job in jobs:
            job.result()
    return list(units)


def run(command: Iterable[str | Path], folder: Path) -> None:
    """Runs a compiler's command."""
    words = [str(word) for word in command]
    # ziglang would leave its cache of some 60 MB in the user's home.
    environment = {"ZIG_GLOBAL_CACHE_DIR": str(folder / "zig-cache"), **os.environ}
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)  # noqa: S603
    except FileNotFoundError:
        raise BuildError(f"the C compiler {words[0]!r} was not found; set CC to one, or unset it") from None
    if done.returncode:
        raise BuildError(f"the C compiler failed; set CC to another one: {shlex.join(words)}\n{done.stderr}")


def _zig(target: str, platform_tag: str) -> Toolchain:
    machine, system = target.split("-")[:2]
    return Toolchain(
        # Without -target and -mcpu it would compile for the CPU of this machine.
        command=(sys.executable, "-m", "ziglang", "cc", "-target", target, "-mcpu=baseline"),
        machine=machine,
        is_macos=system.startswith("macos"),
        platform_tag=platform_tag,
        requirements=["ziglang>=0.13"],
    )


def _works(compiler: str) -> bool:
    """Returns whether a compiler finds the C library's headers, which may be a package of their own."""
    command = [compiler, "-x", "c", "-c", "-o", os.devnull, "-"]
    program = "#include <math.h>\n#include <stdlib.h>\n"
    return subprocess.run(command, input=program, capture_output=True, text=True, check=False).returncode == 0  # noqa: S603


def _refuse_unsupported() -> None:
    bits = 64 if sys.maxsize > 2**32 else 32
    if sys.platform == "win32" or sys.byteorder != "little" or bits != 64:  # noqa: PLR2004
        raise BuildError(
            f"this is a {bits}-bit {sys.byteorder}-endian Python on {sys.platform} ({platform.machine()}); the core "
            "needs 64 bits, little-endian, on Linux or macOS: use the SDK here and run the server on another machine"
        )


def _platform_tag() -> str:
    if sys.platform == "darwin":  # the compiler's default is this version of macOS and this CPU
        release = platform.mac_ver()[0].split(".")[0]
        return f"macosx_{release}_0_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
