"""systemd accepts the unit, sandboxes it, and stops it only after the drain."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from unrolled_server import exit_codes
from unrolled_server.settings import Settings

ROOT = Path(__file__).parents[2]
SYSTEMD = ROOT / "deploy/systemd"
UNIT = (SYSTEMD / "unrolled.service").read_text()
ENVIRONMENT = dict(re.findall(r"^(\w+)=(.*)$", (SYSTEMD / "unrolled.env").read_text(), re.MULTILINE))
MIN_SYSTEMD = 250  # the first with %d and offline security checks


def value(name):
    return re.search(rf"^{name}=(.*)$", UNIT, re.MULTILINE)[1]


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def knows_the_unit():
    if not shutil.which("systemd-analyze"):
        return False
    return int(re.search(r"systemd (\d+)", analyze("--version").stdout)[1]) >= MIN_SYSTEMD


with_systemd = pytest.mark.skipif(
    not knows_the_unit(), reason=f"wants systemd-analyze {MIN_SYSTEMD} or newer"
)


@pytest.fixture
def installed(tmp_path):
    """The unit with its drop-in, and with a command that exists on this machine."""
    unit = tmp_path / "unrolled.service"
    unit.write_text(UNIT.replace(value("ExecStart"), sys.executable))
    folder = tmp_path / "unrolled.service.d"
    folder.mkdir()
    shutil.copy(SYSTEMD / "tls.conf", folder)
    return unit


@with_systemd
def test_systemd_accepts_the_unit(installed):
    judged = analyze("verify", "--man=no", str(installed))
    assert (judged.returncode, judged.stderr) == (0, "")


@with_systemd
def test_systemd_rates_the_exposure_as_low(installed):
    """The exposure goes up to 10; services without a sandbox have 9.6."""
    judged = analyze("security", "--offline=true", "--threshold=20", str(installed))
    assert judged.returncode == 0, judged.stdout


def test_the_stop_timeout_is_longer_than_the_drain():
    default_s = Settings.model_fields["drain_timeout_s"].default
    drain_s = float(ENVIRONMENT["UNROLLED_DRAIN_TIMEOUT_S"])
    assert drain_s == default_s
    assert float(value("TimeoutStopSec")) >= drain_s + 10


def test_it_does_not_restart_after_permanent_errors():
    table = (ROOT / "docs/operate/deploy.md").read_text().partition("| exit code |")[2].partition("\n\n")[0]
    helps = {
        int(code): words.strip()
        for codes, words in re.findall(r"^\| ([\d, ]+) \|.*\|(.*)\|$", table, re.MULTILINE)
        for code in codes.split(",")
    }
    known = {number for name, number in vars(exit_codes).items() if name.startswith("EXIT_")}
    of_signals = {exit_codes.exit_code_of_signal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    assert set(helps) == known | {0} | of_signals
    prevented = set(map(int, value("RestartPreventExitStatus").split()))
    assert prevented == {code for code, words in helps.items() if words == "no"}


def test_only_the_cache_directory_is_writable():
    assert value("CacheDirectory") == "unrolled"
    assert "Environment=UNROLLED_VECTORS_CACHE=%C/unrolled\n" in UNIT
    assert value("ProtectSystem") == "strict"


def test_every_credential_is_used_and_every_file_is_a_credential():
    drop_in = (SYSTEMD / "tls.conf").read_text()
    loaded = re.findall(r"^LoadCredential=([\w.]+):", drop_in, re.MULTILINE)
    used = re.findall(r"^Environment=UNROLLED_\w+=%d/([\w.]+)$", drop_in, re.MULTILINE)
    assert sorted(loaded) == sorted(used) == ["tls.crt", "tls.key", "tokens"]
