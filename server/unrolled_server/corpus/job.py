"""A job from its start, or from where it was killed, to its end: three passes, each over what is left of it.

A file of its own because it decides what is left; the passes do the work.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from unrolled_server.corpus import cluster
from unrolled_server.corpus.errors import CorpusError
from unrolled_server.corpus.manifest import FINGERPRINT, check_same, describe, read_manifest, write_manifest
from unrolled_server.corpus.parameters import Parameters
from unrolled_server.corpus.parts import Parts
from unrolled_server.corpus.plan import MAX_RANGE_TEXTS, Plan, Ranges, make_plan
from unrolled_server.corpus.progress import Display
from unrolled_server.corpus.scan import Scan
from unrolled_server.corpus.source import Source
from unrolled_server.corpus.symbols import open_table
from unrolled_server.corpus.work import RECORD, Work, read_json, write_json
from unrolled_server.exit_codes import EXIT_PROOF

_MAX_SHOWN_SYMBOLS = 100
_MAX_FAILURES = 10


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
    """

    parameters: Parameters
    source: Source
    output: Path
    placement: Placement
    display: Display
    seconds: dict[str, float] = field(default_factory=dict)
    computed_rows: int = 0

    def run(self) -> dict[str, Any]:
        """Does what is left, and gives the counts of the whole job.

        Raises:
            CorpusError: Something is wrong, and is named; what is finished stays.
            VectorsError: The word vectors cannot be loaded.
            OSError: A file cannot be read or written.
        """
        work = Work(self.output)
        table = open_table(self.parameters)
        wanted = describe(self.parameters, self.source) | {"vectors": table.digest if table else None}
        self._claim(wanted)
        counts = read_json(work.mark)
        if counts is not None:
            self.display.tell(f"{self.output} is finished already; nothing is left to do")
            work.remove()
            return counts
        with work.held():
            work.prepare()
            with cluster.connected(self.placement.address):
                counts = self._pass_all(work)
            write_json(work.mark, counts)
        work.remove()
        return counts

    def _claim(self, wanted: dict[str, Any]) -> None:
        """Makes the output this job's, or sees that it is."""
        found = read_manifest(self.output)
        if found is None:
            self.output.mkdir(parents=True, exist_ok=True)
            write_manifest(self.output, wanted)
        else:
            check_same(found, wanted, output=self.output)

    def _pass_all(self, work: Work) -> dict[str, Any]:
        slice_count = -(-self.source.row_count // self.parameters.part_rows)
        slices = list(map(work.slice, range(slice_count)))
        scan = Scan(source=self.source, parameters=self.parameters, work=work)
        self._pass("reading texts", slices, cluster.Pass(make=partial(_given, scan)))
        records = _records(slices)
        plan = self._plan(work, records)
        ranges = Ranges(parameters=self.parameters, plan=plan, work=work, slice_count=slice_count)
        ranges_done = list(map(work.range, range(plan.range_count)))
        if not all(folder.exists() for folder in ranges_done):
            fingerprint = self._fingerprint()
            make = partial(
                _encoder,
                ranges,
                fingerprint=fingerprint,
                state_memory_bytes=self.placement.state_memory_bytes,
            )
            self._pass("computing vectors", ranges_done, cluster.Pass(make=make, is_kept=True))
        parts = Parts(source=self.source, parameters=self.parameters, work=work, range_count=plan.range_count)
        self._pass(
            "writing parts",
            list(map(work.part, range(slice_count))),
            cluster.Pass(make=partial(_given, parts)),
        )
        computed = _records(ranges_done)
        self.computed_rows = sum(record["computed_rows"] for record in computed)
        return {
            "rows": sum(record["rows"] for record in records),
            "texts": sum(record["texts"] for record in computed),
            "asked_rows": sum(record["asked_rows"] for record in computed),
        }

    def _pass(self, name: str, results: Sequence[Path], done: cluster.Pass) -> None:
        """Does the units whose results are not there; a unit's number is its place among the results."""
        began_s = time.perf_counter()
        left = _left(results)
        if 0 < len(left) < len(results):
            self.display.tell(f"{name}: {len(results) - len(left)} of {len(results)} are done already")
        failed_count = 0
        with self.display.bar(name, total=len(results)) as show:
            while left:
                show(len(results) - len(left))
                try:
                    self._run(left, done, lambda count: show(len(results) - count))
                except cluster.WorkerLostError as error:
                    failed_count += 1
                    if failed_count > _MAX_FAILURES or _left(results) == left:
                        raise
                    self.display.tell(f"{name}: {error}; going on with what is left")
                left = _left(results)
        self.seconds[name] = time.perf_counter() - began_s

    def _run(self, left: Sequence[int], done: cluster.Pass, show_left: Callable[[int], None]) -> None:
        workers = self.placement.workers or cluster.core_count()
        records = cluster.run(left, done, worker_count=workers)
        for count, _ in enumerate(records, start=1):
            show_left(len(left) - count)

    def _plan(self, work: Work, records: Sequence[dict[str, Any]]) -> Plan:
        """The plan of the first start, or one made now."""
        kept = read_json(work.plan)
        if kept is not None:
            return Plan(alphabet=kept["alphabet"], borders=tuple(kept["borders"]))
        range_texts = min(MAX_RANGE_TEXTS, self.parameters.part_rows)
        plan = make_plan(records, alphabet=self.parameters.alphabet, range_texts=range_texts)
        write_json(work.plan, {"alphabet": plan.alphabet, "borders": plan.borders})
        if self.parameters.alphabet is None and self.parameters.vectors is None:
            self._extend_manifest(derived_alphabet=plan.alphabet)
            self.display.tell(
                f"alphabet: {len(plan.alphabet)} symbols, derived from the corpus by first appearance: "
                f"{plan.alphabet[:_MAX_SHOWN_SYMBOLS]!r}{'...' * (len(plan.alphabet) > _MAX_SHOWN_SYMBOLS)}"
            )
        return plan

    def _fingerprint(self) -> str:
        """What all machines agree on, and agreed on when the job began.

        Raises:
            CorpusError: They do not.
        """
        began_s = time.perf_counter()
        of_nodes = cluster.fingerprints()
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


def _left(results: Sequence[Path]) -> list[int]:
    return [number for number, result in enumerate(results) if not result.exists()]


def _given(work: cluster.Work) -> cluster.Work:
    return work


def _encoder(ranges: Ranges, *, fingerprint: str, state_memory_bytes: int) -> cluster.Work:
    from unrolled_server.corpus.encoder import make_encoder  # noqa: PLC0415 - torch is for actors alone

    return make_encoder(ranges, fingerprint=fingerprint, state_memory_bytes=state_memory_bytes)


def _records(folders: Sequence[Path]) -> list[dict[str, Any]]:
    return [record for folder in folders if (record := read_json(folder / RECORD)) is not None]
