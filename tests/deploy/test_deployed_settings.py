"""Deployments use only existing settings of the server, with valid values."""

import re
from pathlib import Path

import pytest
from unrolled_server.probe import ProbeSettings
from unrolled_server.settings import Settings

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "Dockerfile", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
ENVIRONMENTS = [path for path in FILES if path.suffix == ".env"]


def settings_in(text):
    return {name.lower() for name in re.findall(r"\bUNROLLED_([A-Z_]+)", text)}


def test_every_name_is_a_setting():
    wrong = {path.name: settings_in(path.read_text()) - set(Settings.model_fields) for path in FILES}
    assert {name: unknown for name, unknown in wrong.items() if unknown} == {}


def test_the_probe_reads_only_settings():
    assert set(ProbeSettings.model_fields) <= set(Settings.model_fields)


@pytest.mark.parametrize("path", ENVIRONMENTS, ids=lambda path: path.parent.name)
def test_every_value_is_valid(path, monkeypatch):
    given = dict(re.findall(r"^(UNROLLED_\w+)=(.*)$", path.read_text(), re.MULTILINE))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert len(given) > 5
    assert Settings().address == given["UNROLLED_ADDRESS"]
