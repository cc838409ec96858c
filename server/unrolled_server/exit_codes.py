"""Exit codes of the commands, and the errors that carry one."""

import signal

EXIT_UNFINISHED = 1  # a worker died while it drained
EXIT_SETTINGS = 2
EXIT_ADDRESS = 3  # taken, not of this machine, or open to others in clear text; also that of the metrics
EXIT_DEVICE = 4  # not on this machine
EXIT_ENGINE = 5  # the native core is missing, or it or the device computes wrong bits
EXIT_VECTORS = 6  # word vectors that cannot be loaded
EXIT_CREDENTIALS = 7  # a file of certificates, keys or tokens that cannot be used
EXIT_WORKERS = 8  # workers that keep dying


def exit_code_of_signal(number: int) -> int:
    """Returns what shells report for a process that a signal ended: 129, 130 or 143 for SIGHUP, INT or TERM.

    The server exits so after a signal before it was ready, and after a second one while it drains.
    """
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
