"""What ends a job; a file of its own because every part of the room raises it, and the command tells it."""

from unrolled_server.exit_codes import EXIT_SETTINGS, EXIT_UNFINISHED


class CorpusError(Exception):
    """What is wrong, with its value and the remedy, for the person who gave the command.

    Attributes:
        exit_code: Of the command.
    """

    def __init__(self, message: str, *, exit_code: int = EXIT_SETTINGS) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def unwritable(error: OSError) -> CorpusError:
    """A disk that is full, a folder that may not be written, a file that is gone."""
    place = f" {error.filename}" if error.filename else ""
    reason = error.strerror or str(error)  # pyarrow gives a text alone
    return CorpusError(
        f"a file cannot be read or written:{place} {reason}; put that right and give the same "
        "command again: it resumes",
        exit_code=EXIT_UNFINISHED,
    )
