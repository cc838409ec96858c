"""The specification of a job, and the manifest that decides whether a command may resume it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unicodedata import unidata_version

from unrolled_corpus.atomic_files import atomic_file
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.parquet_input import ParquetInput
from unrolled_corpus.workspace import Workspace

MANIFEST = "_manifest.json"
_FORMAT = 2  # of the intermediate files
_MAX_PARTS = 100_000  # names of parts have five digits
_MAX_SHOWN_DIFFERENCES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What every worker gets, pickled; the digest is that of the word vectors on the command's machine."""

    parameters: Parameters
    source: ParquetInput
    workspace: Workspace
    vectors_digest: str | None = None

    @property
    def slice_count(self) -> int:
        """The number of slices and of parts; raises a `CorpusError` if there would be too many."""
        row_count, part_rows = self.source.row_count, self.parameters.part_rows
        count = -(-row_count // part_rows)
        if count > _MAX_PARTS:
            raise CorpusError(
                f"{row_count:,} rows are {count:,} parts at --part-rows {part_rows:,}; the limit is "
                f"{_MAX_PARTS:,} parts; give --part-rows {-(-row_count // _MAX_PARTS)} or more"
            )
        return count

    def describe(self) -> dict[str, Any]:
        """Returns everything that the output's bytes depend on and that is known before the job runs."""
        source = self.source
        versions = {name: version(name) for name in ("unrolled", "pyarrow")}
        versions["unicode"] = unidata_version  # decides about lower case, tokens and white space
        values = {"seeds": self.parameters.seed_numbers, "column": source.column, "keep": source.keep}
        files = [
            {"name": file.name, "rows": file.row_count, "bytes": file.byte_count, "footer": file.digest}
            for file in source.files
        ]
        content: dict[str, Any] = json.loads(  # as it is read back: tuples become lists
            json.dumps(
                {
                    "form": _FORMAT,
                    "parameters": asdict(self.parameters) | values,
                    "input": {"rows": source.row_count, "files": files},
                    "versions": versions,
                    "vectors": self.vectors_digest,
                }
            )
        )
        return content


def read_manifest(output: Path) -> dict[str, Any] | None:
    """Returns the manifest of an output or None for a new one; refuses a folder of something else."""
    file = output / MANIFEST
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except (FileNotFoundError, NotADirectoryError):
        if output.exists() and (not output.is_dir() or any(map(_is_visible, output.iterdir()))):
            raise CorpusError(
                f"{output} exists and has no {MANIFEST}, so it is not an output of this command; name a new "
                "folder"
            ) from None
        return None
    except ValueError:
        raise CorpusError(f"{file} is not JSON; remove {output} and start again") from None
    return content


def write_manifest(output: Path, content: Mapping[str, Any]) -> None:
    """Replaces the manifest."""
    with atomic_file(output / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def extend_manifest(output: Path, **values: str) -> None:
    """Adds values to the manifest."""
    write_manifest(output, {**(read_manifest(output) or {}), **values})


def check_same_job(found: Mapping[str, Any], wanted: Mapping[str, Any], *, output: Path) -> None:
    """Raises a `CorpusError` that names the differences if the job in `output` is not the wanted one."""
    existing = _flatten(found)
    differences = [
        f"{name} is {existing.get(name)!r} there and {value!r} here"
        for name, value in _flatten(wanted).items()
        if existing.get(name) != value
    ]
    if differences:
        raise CorpusError(
            f"{output} holds another job: {'; '.join(differences[:_MAX_SHOWN_DIFFERENCES])}; give the same "
            "command to resume it, name another OUTPUT, or remove this one"
        )


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")  # a killed command leaves hidden files


def _flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """Names values by their last two keys, parameters by the last; lists stay whole."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        prefix = "" if name == "parameters" else f"{name}."
        flat |= (
            {f"{prefix}{key}": v for key, v in value.items()} if isinstance(value, Mapping) else {name: value}
        )
    return flat
