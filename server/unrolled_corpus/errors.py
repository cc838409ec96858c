"""The error that ends a job."""

from unrolled_server.exit_codes import EXIT_SETTINGS, EXIT_UNFINISHED


class CorpusError(Exception):
    """An error whose message names the value, the limit and the remedy.

    Attributes:
        exit_code: The command's exit code.
    """

    def __init__(self, message: str, *, exit_code: int = EXIT_SETTINGS) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def describe_os_error(error: OSError) -> CorpusError:
    """Returns the error for a full disk, a missing permission or a missing file."""
    path = f" {error.filename}" if error.filename else ""
    reason = error.strerror or str(error)  # pyarrow sets only a text
    return CorpusError(
        f"a file cannot be read or written:{path} {reason}; put that right and give the same "
        "command again: it resumes",
        exit_code=EXIT_UNFINISHED,
    )
