"""The command `unrolled`, in this process and once in a separate one."""

import json
import os
import pty
import re
import socket
import subprocess
import sys
from functools import partial
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import join_reply
from unrolled_client import Client

SVG = "{http://www.w3.org/2000/svg}"
LESSON = ("hello", "eolll", "lleel")


@pytest.fixture
def lesson(server_address):
    """The lesson's result."""
    with Client(server_address) as client:
        yield client.forward(LESSON, hidden_size=2)


def test_the_table_shows_every_state(run, lesson):
    """Each letter has a row with its states to four decimals."""
    done = run("forward", *LESSON, "--hidden-size", 2)
    rows = [line.split() for line in done.output.splitlines() if line.startswith("│")]
    assert done.exit_code == 0
    numbers = [[float(cell) for cell in row if cell.lstrip("-")[0].isdigit()] for row in rows]
    np.testing.assert_allclose(numbers, lesson.outputs.reshape(15, 2), atol=5.1e-5)
    assert "(3, 5, 2), layout batch_first, alphabet helo" in done.output
    assert "shown:" not in done.output


def test_a_wide_or_long_table_is_cut_and_says_so(run):
    """What does not fit is left out, never wrapped, and the last line says how to get all."""
    done = run("forward", *["ab" * 8] * 10, "--hidden-size", 256)
    assert max(map(len, done.output.splitlines())) <= 80
    assert "shown: 60 of 160 letters, 5 of 256 units; --json or --npy FILE gives all" in done.output


@pytest.mark.parametrize(
    "options",
    [
        ("--output", "last"),
        ("--word-embedding-size", 3),
        ("--nonlinearity", "relu", "--input-scaling", 1000),
    ],
)
def test_numbers_of_a_table_are_never_cut(run, options):
    """Long words leave room for fewer units."""
    done = run("forward", f"{'ab' * 20} {'cd' * 20}", "--hidden-size", 64, *options)
    table = [line for line in done.output.splitlines() if line.startswith("│")]
    assert max(map(len, table)) <= 80
    numbers = [cell.strip() for line in table for cell in line.strip("│").split("│")[2:]]
    assert numbers
    assert all(re.fullmatch(r"-?\d+\.\d{4}", number) for number in numbers)


def test_networks_of_torch_are_asked_for_by_torchs_names(run, server_address):
    """The options of a network reach the server; a pooled table has a row for each word."""
    options = {"cell": "gru", "num_layers": 2, "embedding_size": 3, "output": "mean"}
    flags = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", value)]
    done = run("forward", *LESSON, "--hidden-size", 2, "--no-bias", *flags)
    assert done.exit_code == 0, done.output
    with Client(server_address) as client:
        expected = client.forward(LESSON, hidden_size=2, bias=False, **options).outputs
    rows = [line.split() for line in done.output.splitlines() if line.startswith("│")]
    numbers = [[float(cell) for cell in row if cell.lstrip("-")[0].isdigit()] for row in rows]
    np.testing.assert_allclose(numbers, expected, atol=5.1e-5)
    assert "(batch, hidden) = (3, 2)" in done.output


def test_odd_letters_do_not_break_the_table(run):
    """Markup, line breaks and control characters are shown, not obeyed."""
    done = run("forward", "[red]", "a\nb", "\x1b[2J", "--hidden-size", 2)
    assert done.exit_code == 0
    assert "[red]" in done.output
    assert "\\n" in done.output
    assert "\x1b[2J" not in done.output


def test_json_is_one_exact_line(run, lesson):
    """--json prints one line from which the very floats come back."""
    done = run("forward", *LESSON, "--hidden-size", 2, "--json")
    content = json.loads(done.output)
    assert done.output.count("\n") == 1
    assert np.array_equal(np.float32(content["outputs"]), lesson.outputs)
    assert (content["shape"], content["lengths"], content["alphabet"]) == ([3, 5, 2], [5, 5, 5], "helo")
    assert content["fingerprint"] == lesson.fingerprint
    assert content["timing"].keys() == {"queue_s", "compute_s"}


def test_a_malformed_target_is_named_by_where_it_was_given(run, monkeypatch):
    """As an option, or in the environment."""
    assert "unrolled: --target is 'one', without a port" in run("info", "--target", "one").stderr
    monkeypatch.setenv("UNROLLED_TARGET", "two")
    assert "unrolled: --target is 'one', without a port" in run("info", "--target", "one").stderr
    assert "unrolled: UNROLLED_TARGET is 'two', without a port" in run("info").stderr


@pytest.mark.parametrize("command", [["forward", "--npy"], ["plot", "--save"]], ids=" ".join)
def test_a_call_that_fails_leaves_the_file_as_it_was(run, tmp_path, command):
    """A refused request does not replace what was there."""
    file = tmp_path / "states.png"
    file.write_text("kept")
    assert run(*command, file, "a", "--hidden-size", 5000).exit_code == 1
    assert file.read_text() == "kept"
    assert list(tmp_path.iterdir()) == [file]


def test_npy_writes_the_array(run, lesson, tmp_path):
    """--npy writes to exactly the name given, for numpy.load, and prints nothing."""
    done = run("forward", *LESSON, "--hidden-size", 2, "--npy", tmp_path / "states")
    assert (done.exit_code, done.output) == (0, "")
    assert np.array_equal(np.load(tmp_path / "states"), lesson.outputs)


@pytest.mark.parametrize("text", ["hello\neolll\nlleel\n", "\ufeffhello\r\neolll\r\nlleel"])
def test_words_come_from_a_file_or_standard_input(run, lesson, tmp_path, text):
    """One word a line, whatever the line ends and the byte-order mark; standard input without a word, too."""
    file = tmp_path / "words.txt"
    file.write_bytes(text.encode())
    piped = [run("forward", *words, "--json", input=text.encode()) for words in ([], ["-"], ["--file", "-"])]
    for done in (run("forward", "--file", file, "--json"), *piped):
        assert np.array_equal(np.float32(json.loads(done.output)["outputs"]), lesson.outputs)


def test_a_file_may_be_named_as_standard_input_is(run, lesson, tmp_path, monkeypatch):
    """./- is the file that is called so."""
    (tmp_path / "-").write_text("\n".join(LESSON))
    monkeypatch.chdir(tmp_path)
    done = run("forward", "--file", "./-", "--json", input=b"other")
    assert np.array_equal(np.float32(json.loads(done.output)["outputs"]), lesson.outputs)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; give one word a line"),
        (b"\xef\xbb\xbf", "is empty; give one word a line"),
        (b"a\nb\nna\xefve\n", "line 3 is not UTF-8 (byte 0xef); convert it"),
        ("naïve".encode("utf-16"), "line 1 is not UTF-8 (byte 0xff); convert it"),
    ],
)
def test_a_source_of_words_that_cannot_be_read_is_named(run, tmp_path, content, message):
    """The message names the source, the line and the remedy."""
    (tmp_path / "words.txt").write_bytes(content)
    for name, done in {
        "standard input": run("forward", input=content),
        f"{tmp_path}/words.txt": run("forward", "--file", tmp_path / "words.txt"),
    }.items():
        text = " ".join(done.stderr.split())
        assert done.exit_code == 2
        assert name in text
        assert message in text


def test_a_terminal_is_not_read_for_words():
    """Typed alone, the command names what is missing instead of waiting for lines."""
    leader, terminal = pty.openpty()
    command = [sys.executable, "-m", "unrolled_client", "forward"]
    done = subprocess.run(command, stdin=terminal, capture_output=True, text=True, check=False)
    os.close(leader)
    os.close(terminal)
    assert done.returncode == 2
    assert "give words, --file FILE with one word a line, or words on standard input" in done.stderr


def test_words_alone_are_enough(run):
    """The hidden size is 2 if none is given."""
    assert "(batch, seq, hidden) = (1, 5, 2)" in run("forward", "hello").stdout
    assert "rnn, hidden_size 2, seed 0" in run("plot", "hello").stdout


def test_options_reach_the_server(run, server_address):
    """Seed, alphabet and layout are those of the call."""
    options = ["--hidden-size", 3, "--seed", -5, "--alphabet", "olhe", "--layout", "seq_first", "--json"]
    done = run("forward", *LESSON, *options)
    with Client(server_address) as client:
        expected = client.forward(LESSON, hidden_size=3, seed=-5, alphabet="olhe", layout="seq_first")
    assert np.array_equal(np.float32(json.loads(done.output)["outputs"]), expected.outputs)


def test_every_seed_of_torchs_is_taken(run, server_address):
    """The command line reads what the SDK takes, and names what it does not."""
    done = run("forward", "hello", "--hidden-size", 2, "--seed", 2**64 - 1, "--json")
    with Client(server_address) as client:
        expected = client.forward(["hello"], hidden_size=2, seed=-1)
    assert np.array_equal(np.float32(json.loads(done.output)["outputs"]), expected.outputs)
    done = run("forward", "hello", "--hidden-size", 2, "--seed", 2**64)
    assert done.exit_code == 1
    assert "seed is 18446744073709551616; it must be from" in done.stderr


def test_plot_prints_digits_without_colors(run, lesson):
    """Without a terminal each letter has a row of ninths of the largest state."""
    done = run("plot", *LESSON, "--hidden-size", 2)
    lines = done.output.splitlines()
    limit = np.abs(lesson.outputs).max()
    assert lines[:4] == ["rnn, hidden_size 2, seed 0", "", "    0  1", "hello"]
    assert [line for line in lines if line in LESSON] == list(LESSON)
    rows = [line.split() for line in lines[3:-2] if line not in LESSON]
    assert [letter for letter, *_ in rows] == list("".join(LESSON))
    assert [[int(digit) for digit in row[1:]] for row in rows] == np.rint(
        9 * lesson.outputs.reshape(15, 2) / limit
    ).tolist()
    assert lines[-1] == f"9 is {limit:.3g}, -9 is {-limit:.3g}"


def test_plot_prints_colors_on_a_terminal(run, monkeypatch):
    """A terminal that says it has all colours gets blocks of them, and no digits."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    done = run("plot", *LESSON, "--hidden-size", 2)
    assert done.output.count("    \x1b[0m") == 30
    assert "9 is" not in done.output


@pytest.mark.parametrize(("ending", "magic"), [("png", b"\x89PNG"), ("SVG", b"<?xml"), ("pdf", b"%PDF")])
def test_plot_saves_what_the_ending_says(run, tmp_path, ending, magic):
    """A file is of the kind that its name ends in, and nothing is printed."""
    file = tmp_path / f"states.of.{ending}"
    done = run("plot", *LESSON, "--hidden-size", 2, "--cell", "lstm", "--save", file)
    assert (done.exit_code, done.output) == (0, "")
    assert file.read_bytes().startswith(magic)


def test_plot_notes_what_a_file_leaves_out(run, tmp_path):
    """A note on standard error counts what a file leaves out."""
    done = run("plot", *LESSON * 9, "--hidden-size", 2, "--save", tmp_path / "states.svg")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "drawn: 120 of 135 letters\n"


def test_info_describes_the_server(run, lesson):
    """Both forms of info name the limits and the fingerprint."""
    content = json.loads(run("info", "--json").output)
    table = run("info").output
    assert content["fingerprint"] == lesson.fingerprint
    assert content["limits"]["max_words"] == 65_536
    assert bool(content["instruction_set"]) == (content["device"] == "cpu")
    assert "65,536" in table
    assert lesson.fingerprint in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forward", "a", "--file", "-"], "give words or --file FILE, not both"),
        (["forward", "a", "-"], "- is standard input and stands alone"),
        (["forward", "--file", "no/such/file"], "cannot read no/such/file: No such file or directory"),
        (["forward", "--file", "."], "cannot read .: Is a directory"),
        (["forward", "a", "--hidden-size", "two"], "Invalid value for '--hidden-size'"),
        (["forward", "a", "--hidden-size", 2, "--layout", "sideways"], "Invalid value for '--layout'"),
        (["plot"], "standard input is empty; give one word a line"),
        (["plot", "a", "--hidden-size", 2, "--save", "a.jpg"], "must end in one of .png, .svg, .pdf"),
        (["plot", "a", "--hidden-size", 2, "--save", "png"], "must end in one of .png, .svg, .pdf"),
        (["froward"], "No such command"),
        (["forward", "a", "--npy", "no/such/dir/x.npy"], "there is no folder no/such/dir"),
        (["forward", "a", "--npy", "s3://bucket/x.npy"], "--npy is 's3://bucket/x.npy', a URL"),
        (["forward", "--file", "https://x/words"], "--file is 'https://x/words', a URL"),
        (["forward", "--file", ""], "--file is ''; give the path of a file"),
        (["forward", "a", "--npy", "-"], "--npy is '-'; give the path of a file"),
        (["plot", "a", "--save", "no/such/dir/x.png"], "there is no folder no/such/dir"),
        (["plot", "a", "--save", "s3://bucket/x.png"], "--save is 's3://bucket/x.png', a URL"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(run, arguments, message):
    """A mistake in the arguments is reported on standard error, with code 2."""
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["forward", "a", "", "--hidden-size", 2], "words[1] is empty"),
        (["forward", "a", "--hidden-size", 2**40], "hidden_size is 1099511627776"),
        (["forward", "a", "--hidden-size", 2, "--timeout-s", 0], "timeout_s is 0"),
        (["plot", "a", "", "--hidden-size", 2], "words[1] is empty"),
        (["info", "--target", "127.0.0.1:1"], "127.0.0.1:1 is unavailable"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(run, arguments, message):
    """A refused request, an absent server or a bad file is one line on standard error."""
    done = run(*arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("unrolled: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments", [[], ["--help"], ["forward", "--help"], ["plot", "--help"], ["info", "-h"]]
)
def test_help_fits_80_columns(run, arguments):
    """Every help page keeps within 80 columns and cuts no sentence."""
    text = run(*arguments).output
    assert text.startswith("Usage: ")
    assert max(map(len, text.splitlines())) <= 80
    assert "..." not in text.replace("COMMAND [ARGS]...", "").replace("[WORD]...", "")


def test_the_command_runs_by_itself():
    """Without a server, in a new process, the command prints its result and one notice."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # without listening
        default = f"127.0.0.1:{unused.getsockname()[1]}"
        code = (
            "import runpy; from unrolled_client._transport import target; "
            f"target.DEFAULT_TARGET = {default!r}; "
            "runpy.run_module('unrolled_client', run_name='__main__')"
        )
        command = [sys.executable, "-c", code, "forward", *LESSON, "--json"]
        environment = {name: value for name, value in os.environ.items() if name != "UNROLLED_TARGET"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["shape"] == [3, 5, 2]
    assert done.stderr == f"unrolled: nothing answers on {default}; computing in this process\n"


def test_version_needs_no_server(run):
    """--version prints name and version."""
    assert run("--version").output.startswith("unrolled 0.")


@pytest.mark.parametrize("arguments", [[], ["--rate", 500, "--html", "x.html"], ["--help"]])
def test_load_names_the_command_that_replaced_it(run, arguments):
    done = run("load", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "unrolled: load is now a command of its own: use unrolled-load\n"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
@pytest.mark.filterwarnings("error")
def test_hostile_words_are_drawn_without_a_warning(run, tmp_path, ending):
    """Control characters, TeX, markup and letters without a glyph."""
    words = ["\x1b[2J\n", "$\\frac{1}$_^", "<b>&", "你好 e\u0301", "\U0001f600\u202e", "\u2028"]
    done = run(
        "plot", *words, "--alphabet", "".join(sorted(set("".join(words)))), "--save", tmp_path / f"a.{ending}"
    )
    assert (done.exit_code, done.output) == (0, "")
    if ending == "svg":
        texts = ["".join(text.itertext()) for text in ET.parse(tmp_path / "a.svg").iter(f"{SVG}text")]
        assert {"\\x1b[2J\\n", "$\\frac{1}$_^", "<b>&", "你好 e\u0301"} <= set(texts)


@pytest.fixture
def run_on_sentences(serve, run):
    """Runs the command against a server of both directions' states, 0, 1, 2 and so on, of sentences."""

    def answer(data, _context):
        request = pb.ForwardRequest.FromString(data)
        lengths = [len(sentence.split()) for sentence in request.words]
        shape = (len(lengths), max(lengths), 2 * request.hidden_size)
        values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        values[np.arange(shape[1]) >= np.array(lengths)[:, np.newaxis]] = 0
        return join_reply(pb.ForwardReply(shape=shape, lengths=lengths), values=values)

    return partial(run, env={"UNROLLED_TARGET": serve(answer)})


def test_a_table_of_sentences_has_a_row_for_each_word(run_on_sentences):
    """With word vectors the symbols are words, and there is no alphabet."""
    options = ["--hidden-size", 1, "--bidirectional", "--vectors", "glove"]
    done = run_on_sentences("forward", "the cat sat", "no", *options)
    rows = [re.split(r" *[│┃] *", line)[1:-1] for line in done.output.splitlines() if line[0] in "│┃"]
    assert rows == [
        ["sentence", "word", "h0", "h1"],
        ["the cat sat", "the", "0.0000", "1.0000"],
        ["", "cat", "2.0000", "3.0000"],
        ["", "sat", "4.0000", "5.0000"],
        ["no", "no", "6.0000", "7.0000"],
    ]
    assert "(batch, seq, hidden) = (2, 3, 2), layout batch_first, vectors glove" in done.output


def test_a_plot_of_sentences_has_a_row_for_each_word(run_on_sentences):
    """Each row shows a word and its states, and each direction has its own units."""
    options = ["--hidden-size", 1, "--bidirectional", "--vectors", "glove"]
    done = run_on_sentences("plot", "the cat sat", "no", *options)
    title, *lines, legend = done.output.splitlines()
    assert title == "rnn, hidden_size 1, seed 0, bidirectional, vectors glove"
    assert legend == "9 is 7, -9 is -7"
    assert [line.split() for line in lines] == [
        [],
        ["forward", "backward"],
        ["0", "0"],
        ["the", "cat", "sat"],
        ["the", "0", "1"],
        ["cat", "3", "4"],
        ["sat", "5", "6"],
        ["no"],
        ["no", "8", "9"],
        [],
    ]


def test_a_missing_plot_extra_is_one_sentence(server_address, tmp_path):
    """Without matplotlib --save says what to install, before a server is asked; the terminal needs none."""
    code = (
        "import runpy, sys; sys.modules['matplotlib'] = None; "
        "runpy.run_module('unrolled_client', run_name='__main__')"
    )
    command = [sys.executable, "-c", code, "plot", "a", "--hidden-size", "2", "--target"]
    saving = [*command, "127.0.0.1:1", "--save", tmp_path / "a.png"]
    done = subprocess.run(saving, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'unrolled[plot]'" in done.stderr
    done = subprocess.run([*command, server_address], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("command", "option", "name"), [("forward", "--npy", "words.txt"), ("plot", "--save", "words.svg")]
)
def test_an_output_that_is_the_list_of_words_is_refused(run, tmp_path, command, option, name):
    file = tmp_path / name
    file.write_text("hello\n")
    done = run(command, "--file", file, option, file)
    assert done.exit_code == 2
    assert f"--file and {option} name the same file" in " ".join(done.stderr.split())
    assert file.read_text() == "hello\n"
