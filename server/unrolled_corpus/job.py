"""A job from its start, or from where it was killed, to its end: three passes, each over what is left of it.

A file of its own because it decides what is left; the passes do the work.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from unrolled_server.exit_codes import EXIT_PROOF, EXIT_UNFINISHED

from unrolled_corpus import ray_runner
from unrolled_corpus.errors import CorpusError
from unrolled_corpus.manifest import (
    DERIVED_ALPHABET,
    FINGERPRINT,
    check_same,
    describe,
    read_manifest,
    write_manifest,
)
from unrolled_corpus.parameters import Parameters
from unrolled_corpus.parquet_input import Source
from unrolled_corpus.parquet_output import Parts
from unrolled_corpus.partition import MAX_RANGE_TEXTS, Plan, Ranges, make_plan
from unrolled_corpus.progress import Display
from unrolled_corpus.scan import Scan
from unrolled_corpus.text_rules import open_table
from unrolled_corpus.workspace import RECORD, Work, read_json, write_json

_MAX_SHOWN_SYMBOLS = 100
_ON_EMPTY = {"skip": "they are left out", "zero": "they get zeros"}
_MAX_PARTS = 100_000  # names of parts have five digits
_MAX_FAILURES = 3  # of a pass, one after the other, in which nothing is finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Where a job runs; its output's bytes do not depend on it.

    Attributes:
        address: Of a Ray cluster; None starts one.
        workers: Actors of one core each; None takes all cores.
        state_memory_bytes: See `Engine`; of each actor.
    """

    address: str | None
    workers: int | None
    state_memory_bytes: int


@dataclass(slots=True, kw_only=True)
class Job:
    """One start of the command.

    Attributes:
        seconds: What each pass took, so far.
        computed_rows: States that were computed; it depends a little on which actor did what, so it is no
            part of the output.
        found_count: Units that were done already.
    """

    parameters: Parameters
    source: Source
    output: Path
    placement: Placement
    display: Display
    seconds: dict[str, float] = field(default_factory=dict)
    computed_rows: int = 0
    found_count: int = 0

    def run(self) -> dict[str, Any]:
        """Does what is left, and gives the counts of the whole job.

        Raises:
            CorpusError: Something is wrong, and is named; what is finished stays.
            VectorsError: The word vectors cannot be loaded.
            OSError: A file cannot be read or written.
        """
        work = Work(self.output)
        slice_count = part_count(self.source.row_count, self.parameters.part_rows)
        table = open_table(self.parameters)
        digest = table.digest if table else None
        self._claim(describe(self.parameters, self.source) | {"vectors": digest})
        with work.held():
            counts = read_json(work.mark)  # now, because whoever held it may have finished it
            if counts is None:
                work.prepare()
                with ray_runner.connected(self.placement.address):
                    counts = self._pass_all(work, slice_count, vectors_digest=digest)
                write_json(work.mark, counts)
            else:
                self.found_count += slice_count
                self.display.tell(f"{self.output} is finished already; nothing is left to do")
            work.remove()
        return counts

    def _claim(self, wanted: dict[str, Any]) -> None:
        """Makes the output this job's, or sees that it is."""
        real = self.output.resolve()
        inside = next((file for file in self.source.files if file.path.resolve().is_relative_to(real)), None)
        if inside:
            raise CorpusError(
                f"OUTPUT {self.output} has {inside.name} of INPUT in it; name a folder elsewhere"
            )
        found = read_manifest(self.output)
        if found is None:
            self.output.mkdir(parents=True, exist_ok=True)
            write_manifest(self.output, wanted)
        else:
            check_same(found, wanted, output=self.output)

    def _pass_all(self, work: Work, slice_count: int, *, vectors_digest: str | None) -> dict[str, Any]:
        slices = list(map(work.slice, range(slice_count)))
        scan = Scan(source=self.source, parameters=self.parameters, work=work, vectors_digest=vectors_digest)
        self._pass("reading texts", slices, ray_runner.Pass(make=partial(_given, scan)))
        records = _records(slices)
        empty_row_count = self._judge_empty_rows(records)
        plan = self._plan(work, records)
        ranges = Ranges(
            parameters=self.parameters,
            plan=plan,
            work=work,
            slice_count=slice_count,
            vectors_digest=vectors_digest,
        )
        ranges_done = list(map(work.range, range(plan.range_count)))
        if not all(folder.exists() for folder in ranges_done):
            fingerprint = self._fingerprint()
            make = partial(
                _encoder,
                ranges,
                fingerprint=fingerprint,
                state_memory_bytes=self.placement.state_memory_bytes,
            )
            self._pass("computing vectors", ranges_done, ray_runner.Pass(make=make, is_kept=True))
        parts = Parts(source=self.source, parameters=self.parameters, work=work, range_count=plan.range_count)
        self._pass(
            "writing parts",
            list(map(work.part, range(slice_count))),
            ray_runner.Pass(make=partial(_given, parts)),
        )
        computed = _records(ranges_done)
        self.computed_rows = sum(record["computed_rows"] for record in computed)
        return {
            "rows": sum(record["rows"] for record in records),
            "empty_rows": empty_row_count,
            "texts": sum(record["texts"] for record in computed),
            "asked_rows": sum(record["asked_rows"] for record in computed),
        }

    def _judge_empty_rows(self, records: Sequence[dict[str, Any]]) -> int:
        """Counts the rows without a text, and says once what happens to them.

        Raises:
            CorpusError: There are some and --on-empty is error, or there are no others.
        """
        count: int = sum(record["empty_rows"] for record in records)
        if not count:
            return 0
        first_row = next(row for record in records if (row := record["first_empty_row"]) is not None)
        said = (
            f"{count:,} of {self.source.row_count:,} rows are null or have no symbols in the column "
            f"{self.source.column!r}, first row {first_row:,} (counted from 0)"
        )
        if count == self.source.row_count:
            raise CorpusError(f"{said}; nothing is left to compute; name another column by --column")
        if self.parameters.on_empty == "error":
            raise CorpusError(
                f"{said}; give them texts or drop them, or say --on-empty skip or zero with another OUTPUT"
            )
        self.display.tell(f"{said}; {_ON_EMPTY[self.parameters.on_empty]}")
        return count

    def _pass(self, name: str, results: Sequence[Path], done: ray_runner.Pass) -> None:
        """Does the units whose results are not there; a unit's number is its place among the results."""
        began_s = time.perf_counter()
        left = _left(results)
        self.found_count += len(results) - len(left)
        if 0 < len(left) < len(results):
            self.display.tell(f"{name}: {len(results) - len(left)} of {len(results)} are done already")
        failed_count = 0
        with self.display.bar(name, total=len(results)) as show:
            while left:
                show(len(results) - len(left))
                failure = self._run(left, done, lambda count: show(len(results) - count))
                before, left = left, _left(results)
                failed_count = failed_count + 1 if left == before else 0
                if failure is None and left == before:
                    raise CorpusError(_unseen(results[left[0]]), exit_code=EXIT_UNFINISHED)
                if failure is not None and left:
                    self._go_on(f"{name}: {failure}", failed_count)
        self.seconds[name] = time.perf_counter() - began_s

    def _go_on(self, failure: str, failed_count: int) -> None:
        """Tells of a failure, and raises the one after those that are allowed."""
        if failed_count > _MAX_FAILURES:
            raise CorpusError(
                f"{failure}; {failed_count} times, and nothing was finished between; put that right and give "
                "the same command again: it resumes",
                exit_code=EXIT_UNFINISHED,
            )
        self.display.tell(f"{failure}; going on with what is left")

    def _run(
        self, left: Sequence[int], done: ray_runner.Pass, show_left: Callable[[int], None]
    ) -> ray_runner.WorkerLostError | None:
        """Does these units, or some; then says what happened to a worker."""
        workers = self.placement.workers or ray_runner.core_count()
        records = ray_runner.run(left, done, worker_count=workers)
        try:
            for count, _ in enumerate(records, start=1):
                show_left(len(left) - count)
        except ray_runner.WorkerLostError as error:
            return error
        return None

    def _plan(self, work: Work, records: Sequence[dict[str, Any]]) -> Plan:
        """The plan of the first start, or one made now."""
        kept = read_json(work.plan)
        if kept is not None:
            plan = Plan(alphabet=kept["alphabet"], borders=tuple(kept["borders"]))
        else:
            range_texts = min(MAX_RANGE_TEXTS, self.parameters.part_rows)
            plan = make_plan(records, alphabet=self.parameters.alphabet, range_texts=range_texts)
            write_json(work.plan, {"alphabet": plan.alphabet, "borders": plan.borders})
        if self.parameters.alphabet is None and self.parameters.vectors is None:
            self._keep_alphabet(plan.alphabet)
        return plan

    def _keep_alphabet(self, derived: str) -> None:
        """Tells it and puts it into the manifest, unless it is there: a kill may come after the plan."""
        if DERIVED_ALPHABET in (read_manifest(self.output) or {}):
            return
        self._extend_manifest(**{DERIVED_ALPHABET: derived})
        self.display.tell(
            f"alphabet: {len(derived)} symbols, derived from the corpus by first appearance: "
            f"{derived[:_MAX_SHOWN_SYMBOLS]!r}{'...' * (len(derived) > _MAX_SHOWN_SYMBOLS)}"
        )

    def _fingerprint(self) -> str:
        """What all machines agree on, and agreed on when the job began.

        Raises:
            CorpusError: They do not.
        """
        began_s = time.perf_counter()
        of_nodes = ray_runner.fingerprints()
        if len(set(of_nodes.values())) != 1:
            told = "; ".join(f"{node}: {fingerprint}" for node, fingerprint in of_nodes.items())
            raise CorpusError(
                f"the machines of the cluster compute different bits ({told}); use machines of one kind, "
                "with the same torch",
                exit_code=EXIT_PROOF,
            )
        fingerprint = next(iter(of_nodes.values()))
        before = (read_manifest(self.output) or {}).get(FINGERPRINT, fingerprint)
        if before != fingerprint:
            raise CorpusError(
                f"the job began with fingerprint {before}, these machines have {fingerprint}: they compute "
                "other bits; resume where it began, or name another OUTPUT",
                exit_code=EXIT_PROOF,
            )
        self._extend_manifest(fingerprint=fingerprint)
        self.seconds["proving"] = time.perf_counter() - began_s
        return fingerprint

    def _extend_manifest(self, **values: str) -> None:
        write_manifest(self.output, {**(read_manifest(self.output) or {}), **values})


def part_count(row_count: int, part_rows: int) -> int:
    """The parts of so many rows.

    Raises:
        CorpusError: They are too many.
    """
    count = -(-row_count // part_rows)
    if count > _MAX_PARTS:
        raise CorpusError(
            f"{row_count:,} rows are {count:,} parts at --part-rows {part_rows:,}; at most {_MAX_PARTS:,} "
            f"can be; give --part-rows {-(-row_count // _MAX_PARTS)} or more"
        )
    return count


def _unseen(result: Path) -> str:
    return (
        f"the workers wrote {result}, and this machine does not see it; OUTPUT must be on storage that all "
        "machines see"
    )


def _left(results: Sequence[Path]) -> list[int]:
    return [number for number, result in enumerate(results) if not result.exists()]


def _given(work: ray_runner.Work) -> ray_runner.Work:
    return work


def _encoder(ranges: Ranges, *, fingerprint: str, state_memory_bytes: int) -> ray_runner.Work:
    from unrolled_corpus.encode import make_encoder  # noqa: PLC0415 - torch is for actors alone

    return make_encoder(ranges, fingerprint=fingerprint, state_memory_bytes=state_memory_bytes)


def _records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    return [_record(folder / RECORD) for folder in folders]


def _record(file: Path) -> dict[str, Any]:
    content = read_json(file)
    if content is None:
        raise CorpusError(_unseen(file), exit_code=EXIT_UNFINISHED)
    return content
