"""Puts tables into docs/scaling.md, between markers.

<!-- table: NAME -->
...
<!-- end of table -->
"""

import re
from collections.abc import Mapping
from pathlib import Path

PATH = Path(__file__).parents[2] / "docs/scaling.md"
_TABLE = re.compile(r"<!-- table: (?P<name>[a-z_]+) -->\n(?P<table>.*?)<!-- end of table -->", re.DOTALL)


def tables_of(text: str) -> dict[str, str]:
    """The tables that a page has, by name."""
    return {found["name"]: found["table"].strip() for found in _TABLE.finditer(text)}


def filled(text: str, tables: Mapping[str, str]) -> str:
    """The page with these tables.

    Raises:
        KeyError: The page names a table that isn't there.
    """
    return _TABLE.sub(
        lambda found: f"<!-- table: {found['name']} -->\n{tables[found['name']]}\n<!-- end of table -->", text
    )


def write(tables: Mapping[str, str], path: Path = PATH) -> None:
    """Rewrites the page."""
    path.write_text(filled(path.read_text(), tables))
