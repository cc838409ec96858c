"""Hatchling's build hook: compiles the library and adds it to the wheel."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))  # build backends don't have it there

import toolchain  # noqa: E402


class BuildHook(BuildHookInterface[Any]):
    """Compiles the library into a temporary folder, so that a build leaves nothing in the source tree."""

    def dependencies(self) -> list[str]:
        """Returns what a build needs beside the backend: ziglang, if this machine has no suitable compiler."""
        return self._choose().requirements

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compiles the library."""
        chosen = self._choose()
        self._folder = TemporaryDirectory()
        try:
            library = toolchain.build_library(chosen, Path(self._folder.name))
        except toolchain.BuildError as error:
            raise SystemExit(f"unrolled-core: {error}") from None
        build_data["tag"] = f"py3-none-{chosen.platform_tag}"
        build_data["pure_python"] = False
        build_data["force_include"][str(library)] = f"unrolled_core/{library.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Removes the temporary folder."""
        self._folder.cleanup()

    def _choose(self) -> toolchain.Toolchain:
        try:
            return toolchain.choose()
        except toolchain.BuildError as error:
            raise SystemExit(f"unrolled-core: {error}") from None  # SystemExit prints no traceback
