"""What `import unrolled_client` gives, and what it must not cost."""

import ast
import doctest
import importlib.metadata
import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import unrolled_client

ALIASES = {
    "Cell",
    "Layout",
    "Nonlinearity",
    "OnEmpty",
    "OnError",
    "Output",
    "StateLike",
    "UnknownSymbol",
    "UnknownWord",
}
HEAVY = (
    "torch",
    "typer",
    "rich",
    "pydantic",
    "opentelemetry",
    "sklearn",
    "unrolled_server",
    "importlib.metadata",
)


@pytest.mark.parametrize("name", unrolled_client.__all__)
def test_every_public_name_is_there_and_documented(name):
    """Each name of __all__ can be imported and has a docstring of its own."""
    exported = getattr(unrolled_client, name)
    assert name in {*ALIASES, "ALPHABETS"} or (callable(exported) and exported.__doc__)


def test_every_alias_is_documented_where_it_is_defined():
    """A string follows its assignment, because an alias has no docstring of its own."""
    for module in (unrolled_client.network, unrolled_client.results):
        body = ast.parse(Path(module.__file__).read_text()).body
        for one, after in itertools.pairwise(body):
            if isinstance(one, ast.AnnAssign) and one.target.id in ALIASES:
                assert isinstance(after, ast.Expr), one.target.id


def test_what_is_public_says_so():
    """The package has no public name beside __all__ and its modules."""
    names = {name for name, value in vars(unrolled_client).items() if isinstance(value, type)}
    assert names <= set(unrolled_client.__all__)
    assert list(unrolled_client.__all__) == sorted(unrolled_client.__all__)


def test_import_loads_nothing_heavy():
    """A fresh process that imports the SDK has neither torch nor a command-line library nor the server."""
    code = "import sys, unrolled_client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(HEAVY).isdisjoint(done.stdout.split())


def test_the_version_is_looked_up_when_it_is_asked_for():
    """The version is the installed package's; other unknown names are an AttributeError."""
    assert unrolled_client.__version__ == importlib.metadata.version("unrolled")
    with pytest.raises(AttributeError, match="no attribute 'Sessions'"):
        _ = unrolled_client.Sessions


@pytest.mark.parametrize("module", [unrolled_client, unrolled_client._messages.words])
def test_examples_in_docstrings_run(module):
    """The examples in docstrings do what they show."""
    assert doctest.testmod(module, raise_on_error=True).attempted
