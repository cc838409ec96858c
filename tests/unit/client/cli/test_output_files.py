"""Files for results: what cannot be written is refused before the work, and no file is ever half there."""

import os
import stat
from pathlib import Path

import pytest
import typer
from unrolled_client.cli.output_files import OutputFile, parse_path


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "--html is ''; give the path of a file"),
        ("-", "--html is '-'; give the path of a file"),
        ("reports/", "--html is 'reports/'; give the path of a file"),
        (
            "s3://bucket/x.html",
            "--html is 's3://bucket/x.html', a URL; give the path of a file on this machine",
        ),
        ("file:///tmp/x.html", "a URL"),
        ("~no-such-user/x", "that home directory is unknown"),
    ],
)
def test_what_names_no_file_is_refused(text, message):
    with pytest.raises(typer.BadParameter, match=message):
        parse_path("--html", text)


def test_a_tilde_that_the_shell_left_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_path("--html", "~/x.html") == tmp_path / "x.html"
    assert parse_path("--html", "./~/x.html") == Path("~/x.html")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing/x", "there is no folder .*missing"),
        ("file/x", "there is no folder .*file"),
        (".", "Is a directory"),
        ("x" * 300, "File name too long"),
    ],
)
@pytest.mark.parametrize("is_log", [False, True])
def test_a_file_that_cannot_be_is_refused_and_leaves_nothing(tmp_path, name, message, is_log):
    (tmp_path / "file").write_text("here before")
    with pytest.raises(typer.BadParameter, match=f"--html .* cannot be written: {message}"):
        OutputFile("--html", tmp_path / name, is_log=is_log)
    assert names_in(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_file_without_the_permission_is_refused(tmp_path):
    file = tmp_path / "x"
    file.touch(mode=0o400)
    with pytest.raises(typer.BadParameter, match="Permission denied"):
        OutputFile("--html", file)


@pytest.mark.parametrize("is_log", [False, True])
def test_work_without_a_result_leaves_everything_as_it_was(tmp_path, is_log):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("here before")
    for path in (old, new):
        with OutputFile("--html", path, is_log=is_log):
            pass
    assert old.read_text() == "here before"
    assert names_in(tmp_path) == ["old"]


def test_a_result_takes_the_place_of_what_was_there_and_keeps_its_mode(tmp_path):
    file = tmp_path / "x"
    file.write_text("here before, and longer")
    file.chmod(0o640)
    with OutputFile("--html", file) as output:
        assert file.read_text() == "here before, and longer"
        output.write(b"new")
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert names_in(tmp_path) == ["x"]


def test_a_result_goes_to_where_a_link_leads(tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "folder" / "x")
    for content in (b"first", b"second"):
        with OutputFile("--html", link) as output:
            output.write(content)
        assert (tmp_path / "folder" / "x").read_bytes() == content
    assert link.is_symlink()


def test_a_log_is_written_as_the_work_goes_on(tmp_path):
    file = tmp_path / "x"
    file.write_text("here before, and longer")
    with OutputFile("--raw-log", file, is_log=True) as output:
        file_of_log = output.begin()
        file_of_log.write(b"line\n")
        file_of_log.flush()
        assert file.read_text() == "line\n"
    assert file.read_text() == "line\n", "it is kept though the work ended early"


def test_devices_are_written_and_stay_devices():
    with OutputFile("--html", Path("/dev/null")) as output:
        output.write(b"new")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_is_an_error_when_it_is_full():
    with OutputFile("--html", Path("/dev/full")) as output, pytest.raises(OSError, match="No space left"):
        output.write(b"new")


def test_a_folder_that_goes_away_is_an_error_and_no_other_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with OutputFile("--html", folder / "x") as output:
        next(folder.iterdir()).unlink()
        folder.rmdir()
        with pytest.raises(OSError, match="No such file"):
            output.write(b"new")
    assert names_in(tmp_path) == []
