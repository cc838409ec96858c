"""What the command's exit codes mean; a file of its own because several processes give them."""

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
    """What shells say of a process that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


EXIT_INTERRUPTED = exit_code_of_signal(signal.SIGINT)
