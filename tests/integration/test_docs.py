"""What the documents tell people to type works as written."""

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from unrolled_client._transport.target import DEFAULT_TARGET
from unrolled_server.settings.model import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
DOCUMENTED_ADDRESS = "localhost:50051"


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def test_the_readmes_python_runs_from_top_to_bottom(server_address):
    code = "\n".join(blocks("python")).replace(DOCUMENTED_ADDRESS, server_address)
    assert code.count("assert ") >= 10
    environment = {**os.environ, "UNROLLED_TARGET": server_address}
    command = [sys.executable, "-W", "error", "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr


SESSIONS = [block.partition("\n")[::2] for text in blocks("console") for block in text.split("$ ")[1:]]


@pytest.mark.parametrize(("command", "shown"), SESSIONS, ids=[command for command, _ in SESSIONS])
def test_the_readmes_commands_print_what_it_shows(command, shown, server_address):
    """Three dots stand for any text."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "UNROLLED_TARGET": server_address, "PATH": path, "COLUMNS": "80"}
    run = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, env=environment, check=False, cwd=ROOT
    )
    assert (run.returncode, run.stderr) == (0, "")
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    assert doctest.OutputChecker().check_output(shown, run.stdout, options), run.stdout


def test_the_server_listens_where_the_client_asks():
    """By default, as the README's first commands do."""
    assert DEFAULT_TARGET == DOCUMENTED_ADDRESS
    assert Settings.model_fields["address"].default == DEFAULT_TARGET.replace("localhost", "127.0.0.1")


def test_every_make_target_that_the_documents_name_exists():
    documents = [
        README,
        *(path.read_text() for path in (ROOT / "CONTRIBUTING.md", ROOT / "docs/architecture.md")),
    ]
    named = {name for text in documents for name in re.findall(r"`make ([a-z-]+)", text)}
    assert named
    assert named <= set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))


def test_every_local_link_leads_to_a_file():
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_map_of_the_house_names_every_room():
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = [
        path
        for package in ("client/unrolled_client", "server/unrolled_server", "protos/unrolled/v1")
        for path in (ROOT / package).glob("[!_]*.py")
        if not path.stem.endswith(("_pb2", "_pb2_grpc"))
    ]
    assert [path.name for path in rooms if path.name not in text] == []


def test_the_limits_table_tells_the_defaults():
    shown = subprocess.run(
        [sys.executable, "-m", "unrolled_server", "--help"], capture_output=True, text=True, check=True
    ).stdout
    table = dict(re.findall(r"\| `(--max-[a-z-]+)` \| ([\d,]+(?: MiB)?) \|", README))
    assert set(table) == set(re.findall(r"--max-[a-z-]+", shown))
    for flag, default in table.items():
        number = int(default.removesuffix(" MiB").replace(",", "")) * (
            2**20 if default.endswith("MiB") else 1
        )
        help_text = " ".join(re.split(rf"  {flag} (?:int|float)", shown)[1].split(" --")[0].split())
        assert float(re.search(r"\(default: ([\d.]+)\)", help_text)[1]) == number


@pytest.mark.long
def test_the_demo_prints_the_lessons_listing_and_where_the_layouts_differ():
    run = subprocess.run(
        [sys.executable, ROOT / "examples/demo.py"], capture_output=True, text=True, check=True
    )
    listing = README.split("```\n[[[")[1].split("```")[0]
    assert f"[[[{listing}" in run.stdout
    assert "Both are equal to torch.nn.RNN" in run.stdout
    assert "They differ first at 'hello', letter 2" in run.stdout
