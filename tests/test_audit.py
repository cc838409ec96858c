"""What `make audit` makes of pip-audit's words."""

import json

import pytest

from tests.audit import verdict

SOUND = {"name": "numpy", "version": "2.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI"}
BROKEN = {
    "name": "jinja2",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["1.1"], "description": "bad"}],
}


def report_of(*packages):
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_named_and_exits_1():
    code, lines = verdict(report_of(SOUND, BROKEN), errors="Found 1 known vulnerability")
    assert code == 1
    assert lines[0] == "jinja2 1.0: PYSEC-1, CVE-1; fixed in 1.1"


def test_none_known_exits_0_and_names_what_was_not_looked_up():
    assert verdict(report_of(SOUND, SKIPPED), errors="") == (
        0,
        ["audit: 1 of 2 pinned packages were looked up; not torch; 0 known vulnerabilities"],
    )


@pytest.mark.parametrize(
    ("report", "errors"),
    [
        (report_of(SKIPPED, SKIPPED), "No known vulnerabilities found"),
        ("", "Traceback\nrequests.exceptions.ConnectionError: HTTPSConnectionPool(host='x')"),
    ],
)
def test_a_database_that_is_not_there_is_no_all_clear(report, errors):
    """One line, which says that nothing is known, and exit code 0."""
    code, lines = verdict(report, errors=errors)
    assert (code, len(lines)) == (0, 1)
    assert "nobody could be asked, so nothing is known" in lines[0]


def test_any_other_failure_exits_2():
    assert verdict("", errors="No such file: constraints.txt") == (
        2,
        ["audit: pip-audit failed: No such file: constraints.txt"],
    )
