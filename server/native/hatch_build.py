"""Hatchling's build hook: compiles the library and adds it to the wheel."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))  # a build backend's path lacks the project's folder

import toolchain


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Ends the build with a message and no traceback if the core cannot be built."""
    try:
        yield
    except toolchain.BuildError as error:
        raise SystemExit(f"unrolled-core: {error}") from None


class BuildHook(BuildHookInterface[Any]):
    """Compiles in a temporary folder, so that a build leaves nothing in the source tree."""

    def dependencies(self) -> list[str]:
        """Returns the build requirement ziglang where the system has no suitable compiler."""
        with _one_line_errors():
            return ["ziglang>=0.13"] if toolchain.choose().is_ziglang else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Adds the library and the wheel's tag to the build."""
        self._folder = TemporaryDirectory()
        with _one_line_errors():
            chosen = toolchain.choose()
            library = toolchain.build_library(chosen, Path(self._folder.name))
        build_data["tag"] = f"py3-none-{chosen.platform_tag}"
        build_data["pure_python"] = False
        build_data["force_include"][str(library)] = f"unrolled_core/{library.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Removes the temporary folder."""
        self._folder.cleanup()
