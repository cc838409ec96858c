"""The package `unrolled`, which re-exports the SDK without depending on it."""

import subprocess
import sys
from importlib.metadata import version

import pytest
import unrolled
import unrolled_client


@pytest.mark.parametrize("name", unrolled_client.__all__)
def test_each_name_of_the_sdk_is_exported(name):
    """`from unrolled import NAME` gives the SDK's own object."""
    assert getattr(unrolled, name) is getattr(unrolled_client, name)
    assert name in dir(unrolled)


def test_a_star_import_gives_the_sdks_names():
    names = {}
    exec("from unrolled import *", names)
    assert set(unrolled_client.__all__) <= set(names)


@pytest.mark.parametrize("package", [unrolled, unrolled_client])
def test_each_package_has_its_version(package):
    assert package.__version__ == version("unrolled")


@pytest.mark.parametrize("name", ["Clients", "aio", "_codec", "__path_hooks__"])
def test_other_names_are_attribute_errors(name):
    """Also names that the SDK has but does not export."""
    with pytest.raises(AttributeError, match=f"module 'unrolled' has no attribute '{name}'"):
        getattr(unrolled, name)


@pytest.mark.parametrize("imported", ["unrolled", "unrolled.v1.wire", "unrolled_server.validation.parsing"])
def test_the_contract_does_not_load_the_sdk(imported):
    """The SDK is loaded when one of its names is used."""
    code = f"import sys, {imported}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "unrolled_client" not in done.stdout.split()
