"""Writing of reports: each is written even if another one fails."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import typer
from unrolled.entry_points import escape_output
from unrolled_loadtest.report.json_report import to_json
from unrolled_loadtest.report.outputs import ReportFlags, open_reports

from tests.support.loadtest.records import record_of

RECORD = record_of("failing")


def opened(flags, **inputs):
    return open_reports(flags, inputs={f"--{name}": path for name, path in inputs.items()})


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_report_is_written(tmp_path, capsys):
    flags = ReportFlags(as_json=True, html=f"{tmp_path}/x.html", raw_log=f"{tmp_path}/x.tsv")
    with opened(flags) as reports:
        reports.raw_log.begin()
        reports.write(RECORD)
    assert reports.are_complete
    assert (tmp_path / "x.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (tmp_path / "x.tsv").read_text() == "due_s\tsent_s\tdone_s\tcode\n"
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(to_json(RECORD)))
    assert names_in(tmp_path) == ["x.html", "x.tsv"]


@pytest.mark.parametrize("option", ["html", "raw_log"])
def test_the_other_reports_are_written_if_one_cannot_be(tmp_path, capsys, option):
    if not Path("/dev/full").exists():
        pytest.skip("Linux has it")
    files = {name: f"{tmp_path}/{name}" for name in ("html", "raw_log")} | {option: "/dev/full"}
    with opened(ReportFlags(as_json=True, **files)) as reports:
        reports.raw_log.begin()
        reports.write(RECORD)
    captured = capsys.readouterr()
    assert not reports.are_complete
    name = option.replace("_", "-")
    assert (
        captured.err == f"unrolled-load: --{name} /dev/full could not be written: No space left on device\n"
    )
    assert json.loads(captured.out)
    assert len(names_in(tmp_path)) == 1
    assert all(file.stat().st_size for file in tmp_path.iterdir())


def test_the_other_reports_are_written_if_one_raises_an_error(tmp_path, capsys, monkeypatch):
    def fail(_record):
        raise ZeroDivisionError("no width")

    monkeypatch.setattr("unrolled_loadtest.report.html.render", fail)
    with opened(ReportFlags(html=f"{tmp_path}/x", raw_log=f"{tmp_path}/y")) as reports:
        reports.raw_log.begin()
        reports.write(RECORD)
    captured = capsys.readouterr()
    assert "--html" in captured.err
    assert "ZeroDivisionError: no width" in captured.err
    assert "p99.9" in captured.out
    assert names_in(tmp_path) == ["y"]


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_of_any_encoding_gets_the_report(monkeypatch, as_json, encoding):
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    escape_output()  # as the command does
    with opened(ReportFlags(as_json=as_json)) as reports:
        reports.write(RECORD)
    assert reports.are_complete
    assert "81.64 %" in out.buffer.getvalue().decode(encoding) or as_json


def test_standard_output_may_be_closed(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", None)
    with opened(ReportFlags(html=f"{tmp_path}/x")) as reports:
        reports.write(RECORD)
    assert reports.are_complete
    assert (tmp_path / "x").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_closed_pipe_is_not_an_error(monkeypatch, tmp_path, as_json):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with opened(ReportFlags(html=f"{tmp_path}/x", as_json=as_json)) as reports:
            reports.write(RECORD)
    assert reports.are_complete
    assert (tmp_path / "x").exists()


def test_two_options_may_not_name_the_same_file(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "x")
    flags = ReportFlags(html=f"{tmp_path}/x", raw_log=f"{tmp_path}/link")
    with pytest.raises(typer.BadParameter, match="--html and --raw-log name the same file"), opened(flags):
        pass


@pytest.mark.parametrize("option", ["html", "raw_log"])
@pytest.mark.parametrize("link", [None, os.symlink, os.link])
def test_an_output_may_not_be_an_input(tmp_path, option, link):
    """A list of words would be overwritten before it is read."""
    words, output = tmp_path / "words.txt", tmp_path / "output"
    words.write_text("hello\n")
    if link is None:
        output = words
    else:
        link(words, output)
    flags = ReportFlags(**{option: str(output)})
    message = f"--file and --{option.replace('_', '-')} name the same file"
    with pytest.raises(typer.BadParameter, match=message), opened(flags, file=words):
        pass
    assert words.read_text() == "hello\n"


def test_if_the_second_file_cannot_be_opened_the_first_is_not_left(tmp_path):
    flags = ReportFlags(html=f"{tmp_path}/x", raw_log=f"{tmp_path}/missing/y")
    with pytest.raises(typer.BadParameter, match=r"--raw-log .* there is no folder"), opened(flags):
        pass
    assert names_in(tmp_path) == []
