"""The help page of `unrolled-map`."""

from dataclasses import fields

import pytest
from typer.testing import CliRunner
from unrolled_corpus.cli import app
from unrolled_corpus.cli_options import PlacementFlags
from unrolled_corpus.parameters import Parameters

pytestmark = pytest.mark.corpus


def test_the_help_page_has_a_section_for_each_group_and_unbroken_option_names():
    page = CliRunner().invoke(app, ["--help"], prog_name="unrolled-map", terminal_width=80).output
    assert page.startswith("Usage: unrolled-map [OPTIONS] INPUT OUTPUT\n")
    titles = [line for line in page.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == ["Arguments:", "Corpus:", "Network:", "Placement:", "Options:"]
    for field in (*fields(Parameters), *fields(PlacementFlags)):
        assert f"  --{field.name.replace('_', '-')} " in page
