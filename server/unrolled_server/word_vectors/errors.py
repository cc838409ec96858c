"""What can be wrong with a file of word vectors, or with the place for its converted form."""

from pathlib import Path

from unrolled_server.exit_codes import EXIT_VECTORS, StartupError


class VectorsError(StartupError):
    """A table that cannot be had; the message names the file and what to do. A retry alone does not help."""

    exit_code = EXIT_VECTORS

    @classmethod
    def at_line(cls, source: Path, line: int, reason: str) -> "VectorsError":
        """The error for one line of `source`, counted from 1."""
        return cls(f"{source}, line {line}: {reason}")
