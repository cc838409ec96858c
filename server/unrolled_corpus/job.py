"""A job: three passes, each over the units that are not finished yet."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from unrolled_server.exit_codes import EXIT_ENGINE, EXIT_UNFINISHED

from unrolled_corpus import ray_runner
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.manifest import JobSpec, check_same_job, extend_manifest, read_manifest, write_manifest
from unrolled_corpus.parquet_output import write_part
from unrolled_corpus.partition import MAX_RANGE_TEXTS, Partition, make_partition
from unrolled_corpus.progress import Display, UpdateBar
from unrolled_corpus.scan import scan_slice
from unrolled_corpus.text_rules import open_vector_table
from unrolled_corpus.workspace import RECORD, Workspace, read_json, write_json

FINGERPRINT = "fingerprint"
DERIVED_ALPHABET = "derived_alphabet"
_MAX_SHOWN_LETTERS = 100
_MAX_FAILURES = 3  # of a pass, in a row, without a unit that was finished
_EMPTY_ROWS = {"skip": "they are left out", "zero": "they get zeros"}


@dataclass(slots=True, kw_only=True)
class Job:
    """One start of the command.

    Attributes:
        address: That of a Ray cluster; None starts one.
        worker_count: Processes of one core each; None takes all cores.
        seconds: The time of each pass.
        computed_rows: States that were computed; depends a little on which worker did what.
        found_count: Units that an earlier start had finished.
    """

    spec: JobSpec
    display: Display
    address: str | None
    worker_count: int | None
    state_memory_bytes: int
    seconds: dict[str, float] = field(default_factory=dict)
    computed_rows: int = 0
    found_count: int = 0

    @property
    def workspace(self) -> Workspace:
        return self.spec.workspace

    def run(self) -> dict[str, Any]:
        """Does what is left, and returns the counts of the whole job."""
        slice_count = self.spec.slice_count  # checks the limit before word vectors are converted
        table = open_vector_table(self.spec.parameters)
        self.spec = replace(self.spec, vectors_digest=table.digest if table else None)
        self._claim_output()
        with self.workspace.locked():
            counts = read_json(self.workspace.success_file)  # another command may just have finished it
            if counts is None:
                self.workspace.prepare()
                with ray_runner.ray_session(self.address):
                    counts = self._run_passes()
                write_json(self.workspace.success_file, counts)
            else:
                self.found_count += slice_count
                self.display.print(f"{self.workspace.output} is finished already; nothing is left to do")
            self.workspace.clean_up()
        return counts

    def _claim_output(self) -> None:
        """Writes the manifest of a new output, or checks that of an existing one."""
        output = self.workspace.output
        target = output.resolve()
        for file in self.spec.source.files:
            if file.path.resolve().is_relative_to(target):
                raise CorpusError(f"OUTPUT {output} contains {file.name} of INPUT; name a folder elsewhere")
        found = read_manifest(output)
        if found is None:
            output.mkdir(parents=True, exist_ok=True)
            write_manifest(output, self.spec.describe())
        else:
            check_same_job(found, self.spec.describe(), output=output)

    def _run_passes(self) -> dict[str, Any]:
        spec, workspace = self.spec, self.workspace
        slices = [workspace.slice_folder(number) for number in range(spec.slice_count)]
        self._run_pass("reading texts", slices, lambda: partial(scan_slice, spec))
        slice_records = _read_records(slices)
        empty_row_count = self._check_empty_rows(slice_records)
        partition = self._load_partition(slice_records)
        ranges = [workspace.range_folder(number) for number in range(partition.range_count)]
        if not all(folder.exists() for folder in ranges):
            self._run_pass("computing vectors", ranges, self._encoder_factory(partition), use_actors=True)
        parts = [workspace.part_file(number) for number in range(spec.slice_count)]
        self._run_pass("writing parts", parts, lambda: partial(write_part, spec, partition.range_count))
        range_records = _read_records(ranges)
        self.computed_rows = sum(record["computed_rows"] for record in range_records)
        return {
            "rows": sum(record["rows"] for record in slice_records),
            "empty_rows": empty_row_count,
            "texts": sum(record["texts"] for record in range_records),
            "asked_rows": sum(record["asked_rows"] for record in range_records),
        }

    def _check_empty_rows(self, records: Sequence[dict[str, Any]]) -> int:
        """Returns the number of rows without a text; prints what happens to them or refuses them."""
        count: int = sum(record["empty_rows"] for record in records)
        if not count:
            return 0
        source, on_empty = self.spec.source, self.spec.parameters.on_empty
        first_row = next(row for record in records if (row := record["first_empty_row"]) is not None)
        message = (
            f"{count:,} of {source.row_count:,} rows are null or have no symbols in the column "
            f"{source.column!r}, first row {first_row:,} (counted from 0)"
        )
        if count == source.row_count:
            remedy = "name another column by --column"
            if self.spec.parameters.unknown_symbol == "skip":
                remedy += ", or give an --alphabet that has its letters, with another OUTPUT"
            raise CorpusError(f"{message}; nothing is left to compute; {remedy}")
        if on_empty == "error":
            raise CorpusError(
                f"{message}; give them texts or drop them, or say --on-empty skip or zero with another OUTPUT"
            )
        self.display.print(f"{message}; {_EMPTY_ROWS[on_empty]}")
        return count

    def _run_pass(
        self,
        name: str,
        results: Sequence[Path],
        make_function: ray_runner.MakeFunction,
        *,
        use_actors: bool = False,
    ) -> None:
        """Runs the units whose results don't exist; a unit's number is the index of its result."""
        began_s = time.perf_counter()
        missing = _missing(results)
        done_count = len(results) - len(missing)
        self.found_count += done_count
        if missing and done_count:
            self.display.print(f"{name}: {done_count} of {len(results)} are done already")
        failure_count = 0
        with self.display.bar(name, total=len(results)) as update_bar:
            while missing:
                records = ray_runner.run_units(
                    missing, make_function, use_actors=use_actors, worker_count=self.worker_count
                )
                failure = _first_failure(records, update_bar, done_count=done_count)
                before, missing = missing, _missing(results)
                done_count = len(results) - len(missing)
                failure_count = failure_count + 1 if missing == before else 0
                if failure is None and missing == before:
                    raise _invisible(results[missing[0]])
                if failure is not None and missing:
                    self._continue_after(f"{name}: {failure}", failure_count)
        self.seconds[name] = time.perf_counter() - began_s

    def _continue_after(self, failure: str, failure_count: int) -> None:
        """Prints a failure, or raises it if there were too many."""
        if failure_count > _MAX_FAILURES:
            raise CorpusError(
                f"{failure}; {failure_count} times, and nothing was finished between; put that right and "
                "give the same command again: it resumes",
                exit_code=EXIT_UNFINISHED,
            )
        self.display.print(f"{failure}; going on with what is left")

    def _load_partition(self, records: Sequence[dict[str, Any]]) -> Partition:
        """Returns the partition of the job's first start, or makes it."""
        parameters, file = self.spec.parameters, self.workspace.partition_file
        saved = read_json(file)
        if saved is not None:
            partition = Partition(alphabet=saved["alphabet"], borders=tuple(saved["borders"]))
        else:
            # Small parts mean small ranges, so that a resumed job repeats little.
            range_texts = min(MAX_RANGE_TEXTS, parameters.part_rows)
            partition = make_partition(records, alphabet=parameters.alphabet, range_texts=range_texts)
            write_json(file, {"alphabet": partition.alphabet, "borders": partition.borders})
        if parameters.derives_alphabet:
            self._record_alphabet(partition.alphabet)
        return partition

    def _record_alphabet(self, letters: str) -> None:
        """Prints the derived alphabet and adds it to the manifest, unless an earlier start did."""
        output = self.workspace.output
        if DERIVED_ALPHABET in (read_manifest(output) or {}):
            return
        extend_manifest(output, **{DERIVED_ALPHABET: letters})
        shown = f"{letters[:_MAX_SHOWN_LETTERS]!r}{'...' * (len(letters) > _MAX_SHOWN_LETTERS)}"
        self.display.print(
            f"alphabet: {len(letters)} symbols, derived from the corpus by first appearance: {shown}"
        )

    def _encoder_factory(self, partition: Partition) -> ray_runner.MakeFunction:
        """Returns what makes an encoder in an actor."""
        spec, state_memory_bytes = self.spec, self.state_memory_bytes
        fingerprint = self._verify_machines()

        def make_encoder() -> ray_runner.UnitFunction:
            from unrolled_corpus.encode import RangeEncoder  # noqa: PLC0415 - only actors need the core

            return RangeEncoder(
                spec, partition, fingerprint=fingerprint, state_memory_bytes=state_memory_bytes
            )

        return make_encoder

    def _verify_machines(self) -> str:
        """Returns the fingerprint of all machines; refuses different ones, now or since the first start."""
        began_s = time.perf_counter()
        output = self.workspace.output
        found = ray_runner.fingerprints()
        if len(set(found.values())) != 1:
            listed = "; ".join(f"{node}: {fingerprint}" for node, fingerprint in found.items())
            raise CorpusError(
                f"the machines of the cluster compute different bits ({listed}); install one version "
                "of unrolled on all of them",
                exit_code=EXIT_ENGINE,
            )
        fingerprint = next(iter(found.values()))
        before = (read_manifest(output) or {}).get(FINGERPRINT, fingerprint)
        if before != fingerprint:
            raise CorpusError(
                f"the job began with fingerprint {before}, these machines have {fingerprint}: they compute "
                "other bits; resume where it began, or name another OUTPUT",
                exit_code=EXIT_ENGINE,
            )
        extend_manifest(output, **{FINGERPRINT: fingerprint})
        self.seconds["verifying"] = time.perf_counter() - began_s
        return fingerprint


def _first_failure(
    records: Iterator[ray_runner.Record], update_bar: UpdateBar, *, done_count: int
) -> ray_runner.WorkerLostError | None:
    """Counts records in the bar as they arrive; returns the error if a worker is lost."""
    try:
        update_bar(done_count)
        for count, _ in enumerate(records, start=done_count + 1):
            update_bar(count)
    except ray_runner.WorkerLostError as error:
        return error
    return None


def _missing(results: Sequence[Path]) -> list[int]:
    return [number for number, result in enumerate(results) if not result.exists()]


def _read_records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    records = []
    for file in (folder / RECORD for folder in folders):
        record = read_json(file)
        if record is None:
            raise _invisible(file)
        records.append(record)
    return records


def _invisible(result: Path) -> CorpusError:
    return CorpusError(
        f"the workers wrote {result}, and this machine does not see it; OUTPUT must be on storage that all "
        "machines see",
        exit_code=EXIT_UNFINISHED,
    )
