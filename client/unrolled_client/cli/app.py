"""The commands: each makes one call of the SDK and shows the result.

Results go to standard output, everything else to standard error. Exit codes: 0 success, 1 the request or the
server failed, 2 wrong command line.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from unrolled.entry_points import describe_missing
from unrolled.option_groups import with_groups
from unrolled.text import letter_filter, resolve_alphabet, tokenize

from unrolled_client import Result
from unrolled_client._display.picture import Picture
from unrolled_client.cli.connect import exit_on_failure, open_client, report
from unrolled_client.cli.options import GroupedCommand, NetworkFlags, ServerFlags, WordFlags, output_option
from unrolled_client.cli.output import print_info, print_states, to_json
from unrolled_client.cli.output_files import OutputFile, parse_path, refuse_shared_files
from unrolled_client.cli.plot_terminal import draw
from unrolled_client.results import picture_of

_ENDINGS = (".png", ".svg", ".pdf")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: boxes leave half of 80 columns to the text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

AsJson = Annotated[bool, output_option("--json", help="Print one line of JSON.")]


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"unrolled {version('unrolled')}")
        raise typer.Exit


@app.callback()
def unrolled(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Run words through recurrent networks, on an Unrolled server or in this process."""


@app.command(cls=GroupedCommand)
@with_groups
def forward(
    *,
    words: WordFlags,
    network: NetworkFlags,
    as_json: AsJson = False,
    npy: Annotated[
        str | None,
        output_option(metavar="FILE", help="Write the states to FILE for numpy.load, and print no table."),
    ] = None,
    server: ServerFlags,
) -> None:
    """Run words through a recurrent network and print its states.

    Example: unrolled forward hello eolll lleel --hidden-size 2 --seed 0
    """
    batch = _read(words, network)
    array_file = None if npy is None else _open_output("--npy", parse_path("--npy", npy), words)
    with array_file or contextlib.nullcontext(), exit_on_failure():
        result = _forward(batch, words, network, server)
        if array_file is not None:
            np.save(array_file.begin(), result.outputs)
            array_file.finish()
    if as_json:
        typer.echo(json.dumps(to_json(result)))
    elif array_file is None:
        print_states(result)


@app.command(cls=GroupedCommand)
@with_groups
def plot(
    *,
    words: WordFlags,
    network: NetworkFlags,
    save: Annotated[
        str | None,
        output_option(metavar="FILE", help="Draw in FILE: .png, .svg or .pdf.  [default: in the terminal]"),
    ] = None,
    server: ServerFlags,
) -> None:
    """Draw the states of words, in the terminal or in a file.

    Example: unrolled plot hello world --hidden-size 16 --save states.png
    """
    batch = _read(words, network)
    file = None if save is None else _open_drawing(save, words)
    with file or contextlib.nullcontext(), exit_on_failure():
        picture = picture_of(_forward(batch, words, network, server))
        if file is not None:
            _save(picture, file)
    if file is None:
        draw(picture, Console())


@app.command(cls=GroupedCommand)
@with_groups
def info(*, server: ServerFlags, as_json: AsJson = False) -> None:
    """Print the server's versions, device, limits and fingerprint."""
    with exit_on_failure(), open_client(server) as client:
        content = client.server_info()
    if as_json:
        typer.echo(json.dumps(asdict(content)))
    else:
        print_info(content)


@app.command(
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
)
def load() -> None:
    """Names the command that replaced this one."""
    report("load is now a command of its own: use unrolled-load")
    raise typer.Exit(2)


def main() -> None:
    """Runs the command."""
    app(prog_name="unrolled")


def _read(words: WordFlags, network: NetworkFlags) -> list[str]:
    """Returns the words to run: those of `_read_all`, tokenized, without empty ones, as the options say."""
    if words.tokenize and not network.reads_sentences:
        raise typer.BadParameter(
            "--tokenize is for sentences; give --vectors or --word-embedding-size to run along their words, "
            "or leave it out"
        )
    batch = _read_all(words)
    if words.tokenize:
        batch = list(map(tokenize, batch))
    return _without_empty(batch, network) if words.on_empty == "skip" else batch


def _without_empty(batch: list[str], network: NetworkFlags) -> list[str]:
    """Returns the words that have symbols for the network; reports how many have none."""
    left: Callable[[str], str] = str.strip if network.reads_sentences else str
    if network.alphabet and network.unknown_symbol == "skip":
        left = letter_filter(resolve_alphabet(network.alphabet))
    kept = list(filter(left, batch))
    if not kept:
        raise typer.BadParameter(
            f"all {len(batch):,} words have no symbols, and --on-empty skip leaves them out; give others, or "
            "say --on-empty zero"
        )
    if len(kept) < len(batch):
        report(f"left out {len(batch) - len(kept):,} of {len(batch):,} words, which have no symbols")
    return kept


def _read_all(words: WordFlags) -> list[str]:
    """Returns the words from the command line, a file or standard input."""
    given, file = words.words or [], words.file
    if given and file is not None:
        raise typer.BadParameter("give words or --file FILE, not both")
    if len(given) > 1 and "-" in given:
        raise typer.BadParameter("- is standard input and stands alone; to run it as a word, use --file FILE")
    if given and given != ["-"]:
        return given
    if file is not None and file != "-":
        return _split_lines(file, parse_path("--file", file).read_bytes)
    if sys.stdin is None or (not given and file is None and sys.stdin.isatty()):
        raise typer.BadParameter("give words, --file FILE with one word a line, or words on standard input")
    return _split_lines("standard input", sys.stdin.buffer.read)


def _split_lines(name: str, read: Callable[[], bytes]) -> list[str]:
    try:
        content = read()
        text = content.decode("utf-8-sig")  # drops a byte-order mark
    except OSError as error:
        raise typer.BadParameter(f"cannot read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise typer.BadParameter(
            f"cannot read {name}: line {line} is not UTF-8 (byte 0x{content[error.start]:02x}); convert it, "
            "for example by iconv --to-code UTF-8"
        ) from None
    # Not splitlines(), which also splits at letters such as U+2028.
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if lines == [""]:
        raise typer.BadParameter(f"{name} is empty; give one word a line")
    return lines


def _save(picture: Picture, file: OutputFile) -> None:
    from unrolled_client._display.drawing import render  # noqa: PLC0415 - loads matplotlib

    content, note = render(picture, kind=file.path.suffix[1:].lower())
    file.write(content)
    if note:
        typer.echo(note, err=True)


def _forward(batch: list[str], words: WordFlags, network: NetworkFlags, server: ServerFlags) -> Result:
    with open_client(server, network) as client:
        return client.forward(
            batch,
            hidden_size=network.hidden_size,
            seed=network.seed,
            alphabet=network.alphabet,
            layout=network.layout,
            **(network.options() | words.options()),
        )


def _open_output(option: str, path: Path, words: WordFlags) -> OutputFile:
    inputs = {} if words.file in {None, "-"} else {"--file": parse_path("--file", str(words.file))}
    refuse_shared_files({option: path}, inputs=inputs)
    return OutputFile(option, path)


def _open_drawing(text: str, words: WordFlags) -> OutputFile:
    """Opens the file of --save."""
    path = parse_path("--save", text)
    if path.suffix.lower() not in _ENDINGS:
        raise typer.BadParameter(f"--save {path} must end in one of {', '.join(_ENDINGS)}")
    if missing := describe_missing("plot"):
        report(f"--save {missing}")
        raise typer.Exit(2)
    return _open_output("--save", path, words)
