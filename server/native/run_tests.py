"""Builds and runs tests/*.c: with gcc and clang, under sanitizers, and for ARM64 under QEMU."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import toolchain
from toolchain import Toolchain

TESTS = Path(__file__).with_name("tests")
_CHECKED = ("-DUR_DEBUG", "-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all")


def main() -> None:
    """Tests the programs named by the arguments, by default all; exits with 1 if one fails."""
    programs = [path for path in sorted(TESTS.glob("*.c")) if path.stem in sys.argv[1:] or not sys.argv[1:]]
    threads = [path for path in programs if path.stem == "threads"]
    compilers = [path for name in ("gcc", "clang") if (path := shutil.which(name))]
    if not compilers:
        sys.exit("the tests of the native core need gcc or clang")
    machine = toolchain.choose({"CC": compilers[0]}).machine
    for path in compilers:
        compiler = Toolchain(command=(path,), machine=machine)
        _test(Path(path).name, compiler, programs, flags=["-Werror"], is_long=path == compilers[0])
        for level in ("-O0", "-O3"):  # core.c compares a digest
            _test(f"{Path(path).name} {level}", compiler, [TESTS / "core.c"], flags=[level])
    native = Toolchain(command=(compilers[0],), machine=machine)
    _test("AddressSanitizer and UBSan", native, programs, flags=[*_CHECKED, "-fsanitize=address,undefined"])
    _test("ThreadSanitizer", native, threads, flags=[*_CHECKED, "-fsanitize=thread"])
    cross, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if cross and emulator:
        arm64 = Toolchain(command=(cross,), machine="aarch64")
        _test("ARM64 under QEMU", arm64, programs, flags=["-static"], emulator=[emulator])
    else:
        print("ARM64 under QEMU: skipped, needs aarch64-linux-gnu-gcc and qemu-aarch64")


def _test(  # noqa: PLR0913 - most by keyword
    title: str,
    compiler: Toolchain,
    programs: Sequence[Path],
    *,
    flags: Sequence[str],
    emulator: Sequence[str] = (),
    is_long: bool = False,
) -> None:
    """Builds and runs programs; exits at the first that fails. If long, activations.c tries every float32."""
    flags = [*toolchain.FLAGS, *flags]
    with TemporaryDirectory() as name:
        folder = Path(name)
        objects = toolchain.compile_sources(compiler, folder, flags)
        for program in programs:
            made = folder / program.stem
            replaced = sorted(set(re.findall(r"\b__wrap_(\w+)", program.read_text())))
            links = [*(f"-Wl,--wrap={function}" for function in replaced), "-lm", "-lpthread"]
            sources: list[str | Path] = [f"-I{toolchain.SOURCES}", program, *objects]
            toolchain.run([*compiler.command, *flags, *sources, *links, "-o", made], folder)
            print(f"{title}: {program.stem}", flush=True)
            arguments = ["--long"] if is_long and program.stem == "activations" else []
            if code := subprocess.run([*emulator, made, *arguments], check=False).returncode:
                sys.exit(f"{program.stem} failed with exit code {code}")


if __name__ == "__main__":
    main()
