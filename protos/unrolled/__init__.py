"""Unrolled: words in, a recurrent network's hidden states out.

The names of the SDK are here too (`from unrolled import Client`); `unrolled.v1` is the contract between the
server and its clients.
"""

from importlib import import_module


def __getattr__(name: str) -> object:
    """Loads the version or a name of the SDK, by name because the contract depends on neither."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - it is slow to load

        return version(__name__)
    if name == "__all__" or not name.startswith("_"):
        sdk = import_module("unrolled_client")
        if name == "__all__" or name in sdk.__all__:
            return getattr(sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), "__version__", *import_module("unrolled_client").__all__})
