"""The command in this process, against the suite's server."""

import pytest
from typer.testing import CliRunner
from unrolled_client.cli import app


@pytest.fixture
def run(server_address, monkeypatch):
    """Runs the command with arguments against the suite's server."""
    monkeypatch.setenv("UNROLLED_TARGET", server_address)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*arguments, **kwargs):
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **kwargs)

    return invoke
