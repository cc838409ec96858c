"""What faults measured, told at the end of a run; and the server that they are put to."""

import json
from pathlib import Path

import pytest

from tests.fault_injection import extent
from tests.fault_injection.server_process import ServerProcess

ROWS = pytest.StashKey[list[dict[str, object]]]()
REPORT = Path("build/faults.json")


@pytest.fixture
def report(request):
    """A function that keeps numbers which this test measured, by name, for the end of the run."""
    rows = request.config.stash.setdefault(ROWS, [])

    def keep(**numbers):
        rows.append({"fault": request.node.name.removeprefix("test_"), **numbers})

    return keep


@pytest.fixture
def server_process():
    """A server in a process of its own, whose life is watched; see ServerProcess."""
    with ServerProcess() as server:
        yield server


def pytest_terminal_summary(terminalreporter, config):
    """Prints a line for each fault; writes all of them to a file if they were put at length."""
    rows = config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("faults")
    for row in rows:
        numbers = "  ".join(f"{name}={told(number)}" for name, number in row.items() if name != "fault")
        terminalreporter.write_line(f"{row['fault']}\n    {numbers}")
    if extent.IS_LONG:
        REPORT.parent.mkdir(exist_ok=True)
        REPORT.write_text(json.dumps(rows, indent=1))


def told(number):
    """A number as a person reads it."""
    return (
        f"{number:,.4g}"
        if isinstance(number, float)
        else f"{number:,}"
        if isinstance(number, int)
        else number
    )
