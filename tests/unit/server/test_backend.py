"""What ends a start."""

import pytest
from unrolled_server import startup
from unrolled_server.engine import (
    CoreError,
    DeviceUnavailableError,
    DeviceUnstableError,
    InstructionSetError,
)
from unrolled_server.exit_codes import EXIT_DEVICE, EXIT_ENGINE, EXIT_SETTINGS, StartupError
from unrolled_server.settings import Settings


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (CoreError, EXIT_ENGINE),
        (DeviceUnstableError, EXIT_ENGINE),
        (DeviceUnavailableError, EXIT_DEVICE),
        (InstructionSetError, EXIT_SETTINGS),
    ],
)
def test_an_engine_that_cannot_start_ends_the_server_with_its_sentence(monkeypatch, error, exit_code):
    def fail(**_arguments):
        raise error("the native core is not installed")

    monkeypatch.setattr(startup, "Engine", fail)
    with pytest.raises(StartupError, match="the native core is not installed") as caught:
        startup.verified_engine(Settings(), ())
    assert caught.value.exit_code == exit_code
