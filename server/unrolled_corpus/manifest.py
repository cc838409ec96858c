"""What a job is, in a file of its output: who gives the command again resumes that job or is refused.

A file of its own because it decides whether finished work may be used; how the work is done is no part of it.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from unrolled_corpus.atomic_files import whole_file
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.parquet_input import Source

MANIFEST = "_manifest.json"
FINGERPRINT = "fingerprint"
DERIVED_ALPHABET = "derived_alphabet"
_FORM = 2  # of what lies in the work folder


def describe(parameters: Parameters, source: Source) -> dict[str, Any]:
    """All that the output's bytes depend on and that is known before anything runs."""
    given = asdict(parameters)
    files = [
        {"name": file.name, "rows": file.row_count, "bytes": file.byte_count, "footer": file.digest}
        for file in source.files
    ]
    content: dict[str, Any] = json.loads(  # as it will be read back: tuples are lists
        json.dumps(
            {
                "form": _FORM,
                "parameters": {**given, "column": source.column, "keep": source.keep},
                "input": {"rows": source.row_count, "files": files},
                "versions": {name: version(name) for name in ("unrolled", "torch", "pyarrow")},
            }
        )
    )
    return content


def read_manifest(output: Path) -> dict[str, Any] | None:
    """The manifest of an output; None where there is none yet.

    Raises:
        CorpusError: The output is something else.
    """
    file = output / MANIFEST
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        if output.exists() and (not output.is_dir() or any(map(_is_content, output.iterdir()))):
            raise CorpusError(
                f"{output} is there and has no {MANIFEST}, so it is no output of this command; name a new "
                "folder"
            ) from None
        return None
    except ValueError:
        raise CorpusError(f"{file} is no JSON; remove {output} and start again") from None
    return content


def write_manifest(output: Path, content: Mapping[str, Any]) -> None:
    """Puts the manifest in the place of what was there."""
    with whole_file(output / MANIFEST) as unfinished:
        unfinished.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def check_same(found: Mapping[str, Any], wanted: Mapping[str, Any], *, output: Path) -> None:
    """Judges whether the job in `output` is the one that is wanted; names what is not.

    Raises:
        CorpusError: It is not.
    """
    differences = [
        f"{name} is {there!r} there and {here!r} here"
        for name, here in _flat(wanted).items()
        if (there := _flat(found).get(name)) != here
    ]
    if differences:
        raise CorpusError(
            f"{output} holds another job: {'; '.join(differences[:5])}; give the same command to resume "
            "it, name another OUTPUT, or remove this one"
        )


def _is_content(path: Path) -> bool:
    return not path.name.startswith(".")  # what a start that was killed left


def _flat(content: Mapping[str, Any]) -> dict[str, Any]:
    """Values by their last two names; lists, such as that of the files, stay whole."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat.update(
                {f"{name}.{inner}" if name != "parameters" else inner: v for inner, v in value.items()}
            )
        else:
            flat[name] = value
    return flat
