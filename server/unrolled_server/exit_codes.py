"""Exit codes of the commands, and the errors that carry one."""

import signal

EXIT_UNFINISHED = 1
EXIT_SETTINGS = 2
EXIT_ADDRESS = 3
EXIT_DEVICE = 4
EXIT_PROOF = 5
EXIT_VECTORS = 6
EXIT_CREDENTIALS = 7
EXIT_WORKERS = 8


def exit_code_of_signal(number: int) -> int:
    """Returns what shells report for a process that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


EXIT_INTERRUPTED = exit_code_of_signal(signal.SIGINT)


class StartupError(Exception):
    """A server cannot start or go on; the message names the cause and the remedy.

    Subclasses set `exit_code`; without one of them it is an argument.
    """

    exit_code: int

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        if exit_code is not None:
            self.exit_code = exit_code


class AddressError(StartupError):
    """The server cannot listen on an address."""

    exit_code = EXIT_ADDRESS
