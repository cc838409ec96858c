"""Checks wheels of the core, and loads those that this machine can run: check_wheels.py WHEEL..."""

import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import toolchain
from elftools.elf.elffile import ELFFile

HEADER = (toolchain.SOURCES / "unrolled_core.h").read_text()
# libpthread was a part of its own of the C library until glibc 2.34.
C_LIBRARY = {"libc.so.6", "libm.so.6", "libpthread.so.0"}
MACH_O = {"x86_64": b"\xcf\xfa\xed\xfe\x07\x00\x00\x01", "arm64": b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01"}
LOADER = "import ctypes, unrolled_core as core; print(ctypes.CDLL(str(core.LIBRARY)).ur_abi_version())"
C_LOADER = """
#include <dlfcn.h>
#include <stdio.h>
int main(int count, char **arguments) {
    void *library = dlopen(arguments[count - 1], RTLD_NOW);
    int (*version)(void) = library ? (int (*)(void))dlsym(library, "ur_abi_version") : 0;
    if (!version) return puts(dlerror()), 1;
    return printf("%d\\n", version()), 0;
}
"""


def main() -> None:
    """Exits with an error at the first wheel that is wrong."""
    for wheel in map(Path, sys.argv[1:]):
        tag = wheel.stem.split("-")[-1]
        library = f"unrolled_core/libunrolled_core.{'dylib' if 'macosx' in tag else 'so'}"
        with zipfile.ZipFile(wheel) as archive, TemporaryDirectory() as folder:
            _check_files(archive, wheel, library)
            file = Path(archive.extract(library, folder))
            _check_library(file, tag)
            print(f"{wheel}: checked, {_load(wheel, file, tag)}", flush=True)


def _check_files(archive: zipfile.ZipFile, wheel: Path, library: str) -> None:
    name, version, tag = wheel.stem.split("-", 2)
    metadata = f"{name}-{version}.dist-info"
    expected = {"unrolled_core/__init__.py", "unrolled_core/py.typed", library}
    expected |= {f"{metadata}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "licenses/LICENSE")}
    _expect("files", set(archive.namelist()), expected)
    lines = archive.read(f"{metadata}/WHEEL").decode().splitlines()
    _expect("tags", [line for line in lines if line.startswith("Tag: ")], [f"Tag: {tag}"])
    _expect("tag", tag.startswith("py3-none-"), True)


def _check_library(file: Path, tag: str) -> None:
    machine = next(machine for machine in ("x86_64", "aarch64", "arm64") if tag.endswith(machine))
    if "macosx" in tag:
        _expect("file type", file.read_bytes()[:8], MACH_O[machine])
        return
    with file.open("rb") as stream:
        elf = ELFFile(stream)
        _expect("machine", elf["e_machine"], {"x86_64": "EM_X86_64", "aarch64": "EM_AARCH64"}[machine])
        symbols = elf.get_section_by_name(".dynsym").iter_symbols()
        exported = {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF" and symbol.name}
        declared = re.findall(r"^UR_EXPORT\b[^(]*?(\w+)\(", HEADER, re.MULTILINE)
        _expect("exported symbols", exported, set(declared))
        needed = {entry.needed for entry in elf.get_section_by_name(".dynamic").iter_tags("DT_NEEDED")}
        _expect("libraries beside the C library", needed - C_LIBRARY, set())
        stacks = [segment["p_flags"] for segment in elf.iter_segments("PT_GNU_STACK")]
        _expect("flags of the stack", stacks, [0b110])  # readable, writable, not executable
        if tag.startswith("manylinux"):
            versions = elf.get_section_by_name(".gnu.version_r").iter_versions()
            names = {entry.name for _, entries in versions for entry in entries}
            newer = {name for name in names if tuple(map(int, re.findall(r"\d+", name))) > (2, 17)}
            _expect("versions newer than glibc 2.17", newer, set())


def _load(wheel: Path, library: Path, tag: str) -> str:
    """Loads the library if this machine can; returns what was done."""
    folder = library.parent
    if "linux" in tag and tag.endswith(platform.machine()):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", folder, wheel], check=True)
        _expect_version([sys.executable, "-c", LOADER], folder)
        return "installed and loaded"
    if "linux" not in tag:
        return "not loaded: macOS is needed"
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if not (compiler and emulator):
        return "not loaded: aarch64-linux-gnu-gcc and qemu-aarch64 are needed"
    command = [compiler, "-x", "c", "-", "-ldl", "-o", "loader"]
    subprocess.run(command, input=C_LOADER, text=True, check=True, cwd=folder)
    _expect_version([emulator, "-L", "/usr/aarch64-linux-gnu", "loader", str(library)], folder)
    return "loaded under QEMU"


def _expect_version(command: Sequence[str], folder: Path) -> None:
    """Expects a command, run in the folder, to print the version of the interface."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=folder)
    (version,) = re.findall(r"#define UR_ABI_VERSION (\d+)", HEADER)
    _expect("output of the loader", done.stdout.strip(), version)


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        sys.exit(f"{what}: {found!r} instead of {expected!r}")


if __name__ == "__main__":
    main()
