"""Errors that end a start carry the exit code of the command."""

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
def test_an_error_has_the_exit_code_of_its_class_or_its_own_also_in_another_process(error, exit_code):
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.exit_code, str(copy)) == (error.exit_code, str(error)) == (exit_code, str(error))
