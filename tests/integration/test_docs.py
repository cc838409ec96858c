"""The commands and code blocks of the documentation work as written."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from unrolled_client._transport.target import DEFAULT_TARGET
from unrolled_server.engine.golden import GOLDEN_FINGERPRINT
from unrolled_server.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "THREAT_MODEL.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
    )
}
README = PAGES["README.md"]
MAKEFILE = (ROOT / "Makefile").read_text()
COMMANDS = ("unrolled", "unrolled-server", "unrolled-load")


def blocks(language):
    """Returns every code block of a language, with its page and line as the id of the test."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
    return [
        pytest.param(
            found[1],
            id=f"{page}:{text.count(chr(10), 0, found.start()) + 1}",
            marks=[pytest.mark.corpus] if "import pyarrow" in found[1] else [],
        )
        for page, text in PAGES.items()
        for found in fence.finditer(text)
    ]


def run(command, server_address):
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "UNROLLED_TARGET": server_address, "PATH": path, "COLUMNS": "80"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=ROOT)


@pytest.mark.parametrize("code", blocks("python"))
def test_each_python_block_runs_by_itself(code, server_address):
    done = run([sys.executable, "-W", "error", "-c", code], server_address)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("session", blocks("console"))
def test_each_command_prints_what_its_page_shows(session, server_address):
    """`...` stands for any text."""
    for command, _, shown in (step.partition("\n") for step in session.split("$ ")[1:]):
        done = run(["bash", "-c", command], server_address)
        assert (done.returncode, done.stderr) == (0, "")
        options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        assert doctest.OutputChecker().check_output(shown, done.stdout, options), done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_a_command_on_the_pages_exists(command):
    given = {
        option
        for text in PAGES.values()
        for line in re.findall(rf"(?<![\w./-]){command}(?= )([^`|\n#&]*)", text)
        for option in re.findall(r"(?<=\s)--[a-z-]+", line)
    }
    assert given
    subcommands = ("forward", "plot", "info") if command == "unrolled" else ("",)
    shown = "".join(
        subprocess.run(
            [Path(sys.executable).with_name(command), *name.split(), "--help"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in (*subcommands, "")
    )
    assert given - set(re.findall(r"--[a-z-]+", shown)) - {"--help", "--version"} == set()


def test_the_server_listens_where_the_client_calls():
    """The README's first commands rely on equal defaults."""
    assert DEFAULT_TARGET == "localhost:50051"
    assert Settings.model_fields["address"].default == DEFAULT_TARGET.replace("localhost", "127.0.0.1")


def test_the_page_on_the_arithmetic_shows_the_fingerprint_of_every_cpu():
    assert f"```\n{GOLDEN_FINGERPRINT}\n```" in PAGES["docs/background/batch-invariance.md"]


def test_every_make_target_that_the_pages_name_exists():
    named = {
        name
        for text in PAGES.values()
        for name in re.findall(r"\bmake ([a-z]+-[a-z-]+|demo|test|serve)\b", text)
    }
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_every_local_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!http|#)([^)#]+)", PAGES[page])
    assert [link for link in links if not ((ROOT / page).parent / link).exists()] == []


def test_the_index_names_every_page():
    index = PAGES["docs/index.md"]
    pages = [page for page in PAGES if page.startswith("docs/") and "/decisions/" not in page]
    assert [
        page for page in pages if page != "docs/index.md" and page.removeprefix("docs/") not in index
    ] == []


@pytest.mark.parametrize("page", ["README.md", "docs/operate/limits.md"])
def test_the_limits_tables_show_the_defaults(page):
    table = dict(re.findall(r"\| `--(max-[a-z-]+)` \| ([\d,]+(?: MiB)?) \|", PAGES[page]))
    assert table
    for flag, default in table.items():
        number = int(default.removesuffix(" MiB").replace(",", ""))
        shown = number * 2**20 if default.endswith("MiB") else number
        assert Settings.model_fields[flag.replace("-", "_")].default == shown, flag


def test_the_limits_page_names_every_limit():
    limits = {name for name in Settings.model_fields if name.startswith("max_")}
    assert limits == {
        name.replace("-", "_")
        for name in re.findall(r"`--(max-[a-z-]+)` \|", PAGES["docs/operate/limits.md"])
    }


@pytest.mark.long
def test_the_demo_prints_the_lessons_listing_and_where_the_layouts_differ():
    run = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py"], capture_output=True, text=True, check=True
    )
    listing = PAGES["docs/background/lesson.md"].split("```\n[[[")[1].split("```")[0]
    assert f"[[[{listing}" in run.stdout
    assert "Both are equal to torch.nn.RNN" in run.stdout
    assert "They differ first at 'hello', letter 2" in run.stdout
