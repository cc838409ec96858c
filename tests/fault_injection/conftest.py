"""Prints the measurements of the fault tests at the end of a run, and provides their server."""

import json
from pathlib import Path

import pytest

from tests.fault_injection import extent
from tests.fault_injection.server_process import ServerProcess

ROWS = pytest.StashKey[list[dict[str, object]]]()
REPORT = Path("build/faults.json")


@pytest.fixture
def report(request):
    """A function that records measurements of this test by name, for the summary."""
    rows = request.config.stash.setdefault(ROWS, [])

    def keep(**numbers):
        rows.append({"fault": request.node.name.removeprefix("test_"), **numbers})

    return keep


@pytest.fixture
def server_process():
    """A server in a separate process; see ServerProcess."""
    with ServerProcess() as server:
        yield server


def pytest_terminal_summary(terminalreporter, config):
    """Prints the measurements of each test; writes them to a file in a long run."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("faults")
    for row in rows:
        numbers = "  ".join(f"{name}={formatted(number)}" for name, number in row.items() if name != "fault")
        terminalreporter.write_line(f"{row['fault']}\n    {numbers}")
    if extent.IS_LONG:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(rows, indent=1))


def formatted(number):
    """Formats a number for people."""
    return (
        f"{number:,.4g}"
        if isinstance(number, float)
        else f"{number:,}"
        if isinstance(number, int)
        else number
    )
