"""Asks whether a pinned version has a known vulnerability: `make audit`.

Exit codes: 0 none known, or nobody could be asked, which is then said; 1 some are; 2 pip-audit failed.
It is a file of its own because pip-audit does not tell these apart: with a mirror in place of PyPI it skips
every package and says "No known vulnerabilities found".
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent.parent / "constraints.txt"
UNREACHABLE = ("ConnectionError", "Max retries exceeded", "timed out", "Timeout", "Server Error")
COMMAND = [
    *(sys.executable, "-m", "pip_audit", "--requirement", str(LOCK)),
    *("--no-deps", "--disable-pip", "--progress-spinner", "off", "--format", "json"),
]


def main() -> int:
    """Asks, tells, and gives the exit code."""
    done = subprocess.run(COMMAND, capture_output=True, text=True, check=False)
    code, lines = verdict(done.stdout, errors=done.stderr)
    print("\n".join(lines))
    return code


def verdict(report: str, *, errors: str) -> tuple[int, list[str]]:
    """The exit code and what to say, from what pip-audit wrote."""
    try:
        packages = json.loads(report)["dependencies"]
    except (ValueError, KeyError):
        last = (errors.strip().splitlines() or ["it wrote nothing"])[-1]
        if any(word in errors for word in UNREACHABLE):
            return 0, [f"audit: nobody could be asked, so nothing is known: {last}"]
        return 2, [f"audit: pip-audit failed: {last}"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        return 0, [
            f"audit: nobody could be asked, so nothing is known: none of {len(packages)} was looked up"
        ]
    found = [line for package in packages for line in _vulnerabilities(package)]
    asked = f"{len(packages) - len(skipped)} of {len(packages)} pinned packages were looked up"
    if skipped:
        asked += f"; not {', '.join(skipped)}"
    return (1 if found else 0), [*found, f"audit: {asked}; {len(found)} known vulnerabilities"]


def _vulnerabilities(package: dict) -> list[str]:
    lines = []
    for found in package.get("vulns", []):
        names, fixes = [found["id"], *found.get("aliases", [])], found["fix_versions"] or ["no version"]
        lines.append(
            f"{package['name']} {package['version']}: {', '.join(names)}; fixed in {', '.join(fixes)}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
