"""Startup errors carry the exit code of the command."""

import pickle

import pytest
from unrolled_server.exit_codes import EXIT_ADDRESS, EXIT_DEVICE, AddressError, StartupError


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (AddressError("taken"), EXIT_ADDRESS),
        (AddressError("taken", exit_code=9), 9),
        (StartupError("no such device", exit_code=EXIT_DEVICE), EXIT_DEVICE),
    ],
)
def test_an_error_keeps_its_exit_code_across_processes(error, exit_code):
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.exit_code, str(copy)) == (error.exit_code, str(error)) == (exit_code, str(error))
