"""Standard output with another encoding, without a reader, on a full disk or closed: never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMANDS = [
    ["forward", "h\xe9llo", "\u2603", "a\u2026b"],
    ["plot", "h\xe9llo \u2603", "--cell", "gru"],
    ["info"],
    ["--help"],
    ["--version"],
    ["forward", "--help"],
    ["forward", "\u2603", "--json"],
]


@pytest.fixture
def start(server_address):
    """Starts the command in a separate process, against the suite's server."""

    def begin(*arguments, encoding="utf-8", **options):
        environment = {**os.environ, "UNROLLED_TARGET": server_address, "PYTHONIOENCODING": encoding}
        command = [sys.executable, "-m", "unrolled_client", *arguments]
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)

    return begin


@pytest.fixture
def printed(start):
    """The text that the command prints to a pipe of an encoding."""

    def read(*arguments, encoding):
        with start(*arguments, encoding=encoding, stdout=subprocess.PIPE) as process:
            output, errors = process.communicate()
        assert (process.returncode, errors) == (0, b"")
        return output.decode(encoding)

    return read


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "shift_jis", "utf-16"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: ascii(" ".join(arguments)))
def test_every_answer_goes_to_every_encoding(printed, arguments, encoding):
    assert printed(*arguments, encoding=encoding)


def test_a_table_stays_straight_where_letters_are_escaped(printed):
    """Its columns count the escapes, its lines are ASCII, and what is cut ends in one column."""
    lines = printed("forward", "h\xe9llo", "\u2603", "\u2026" * 20, encoding="latin-1").splitlines()
    *table, caption = lines
    assert len(set(map(len, table))) == 1
    assert {line[0] for line in table} == {"+", "|"}
    assert any("h\xe9llo" in line for line in table)
    assert any("| \\u2603 " in line for line in table)
    assert any(line.startswith("| \\u2026\\u2026\\u2026\\~ ") for line in table)
    assert caption.endswith("alphabet h\xe9lo\\u2603\\u2026")


def test_a_plot_stays_straight_where_letters_are_escaped(printed):
    """States stand in their columns; a space is shown by a sign that the encoding has."""
    lines = printed("plot", "a \u2603", encoding="ascii").splitlines()
    rows = lines[lines.index("a \\u2603") + 1 :][:3]
    assert [row.split()[0] for row in rows] == ["a", "_", "\\u2603"]
    assert len(set(map(len, rows))) == 1


def test_json_is_ascii(printed):
    text = printed("forward", "\u2603", "--json", encoding="utf-8")
    assert text.isascii()
    assert json.loads(text)["alphabet"] == "\u2603"


@pytest.mark.parametrize("arguments", [["forward", "a"], ["plot", "a"], ["info", "--json"], ["--version"]])
def test_a_reader_who_leaves_ends_the_command_silently(start, arguments):
    """As in `unrolled forward hello | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    with start(*arguments, stdout=writer) as process:
        os.close(writer)
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [["forward", "a"], ["forward", "a", "--json"], ["plot", "a"], ["info"]])
def test_a_full_disk_is_one_line(start, arguments):
    with Path("/dev/full").open("wb") as full, start(*arguments, stdout=full) as process:
        assert process.stderr.read() == (
            b"unrolled: standard output cannot be written: No space left on device\n"
        )
    assert process.returncode == 1


def test_closed_streams_are_no_failure(server_address):
    """As in `unrolled forward hello >&- 2>&- <&-`."""
    closing = 'exec "$@" >&- 2>&- <&-'
    command = ["sh", "-c", closing, "sh", sys.executable, "-m", "unrolled_client", "forward", "a"]
    environment = {**os.environ, "UNROLLED_TARGET": server_address}
    assert subprocess.run(command, env=environment, check=False).returncode == 0


def test_a_file_name_that_is_not_text_is_printed(start):
    """A name in another encoding than the system's comes with escapes."""
    with start("forward", "--file", b"no\xff.txt", stdout=subprocess.PIPE) as process:
        _, errors = process.communicate()
    assert process.returncode == 2
    assert b"cannot read no\\udcff.txt: No such file or directory" in errors
