"""Ray: a cluster to run on, and one pass over numbered units of work through Ray Data.

A file of its own because it is the only one that knows Ray. What flows through Ray's object store are
numbers and small records: texts and vectors go from file to file, so a kill loses nothing and the store
stays small.
"""

import contextlib
import json
import logging
import os
import re
import shutil
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa
import ray
import ray.data
import ray.data.exceptions
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from unrolled_server.exit_codes import EXIT_ADDRESS, EXIT_PROOF, EXIT_UNFINISHED, EXIT_VECTORS
from unrolled_server.word_vectors import VectorsError

from unrolled_corpus.errors import CorpusError, unwritable

OBJECT_STORE_BYTES = 128 << 20
_MAX_BLOCKS = 1_000
_HOST_AND_PORT = re.compile(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})")
_REACH_TIMEOUT_S = 10
# A socket's path has up to 107 bytes, on macOS 103; below a folder ray-XXXXXXXX Ray's names take 77.
_MAX_PARENT_BYTES = 103 - 77

Record: TypeAlias = Mapping[str, Any]
Work: TypeAlias = Callable[[int], Record]


class WorkerLostError(CorpusError):
    """A worker died, or failed in a way that it does not tell."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Ray for the time of the block: the cluster at the address, or one in processes below this one.

    Raises:
        CorpusError: Nobody answers at the address.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # What Ray tells of itself would stand between our lines.
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    is_homeless = os.path.expanduser("~") == "~"  # noqa: PTH111 - pathlib's raises there
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_own_folder()) if address is None or is_homeless else None
        if is_homeless:
            stack.enter_context(_home(folder))
        try:
            _reach(address)
            with _own_sigterm():
                if address is None:
                    own = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
                    ray.init(address="local", _temp_dir=str(folder), **own | quiet)
                else:
                    ray.init(address=address, **quiet)
        except Exception as error:  # noqa: BLE001 - Ray raises that itself, as for a slow start
            reason = str(error).strip().partition("\n")[0]  # of some, a traceback follows
            raise CorpusError(_unreachable(address, reason), exit_code=EXIT_ADDRESS) from None
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _own_folder() -> Iterator[Path]:
    """Makes a folder for what Ray keeps while it runs, its sockets and logs, and removes it at the end.

    A private one, because Ray's own, ray/ in TMPDIR, may belong to another user or be too long for a socket.

    Raises:
        CorpusError: No folder for temporary files can be written.
    """
    folder = _made_in(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _made_in(*parents: str) -> Path:
    reason = ""
    for parent in map(os.path.abspath, parents):  # Ray's processes have other working directories
        if len(os.fsencode(parent)) > _MAX_PARENT_BYTES:
            reason = reason or f"{parent} is longer than {_MAX_PARENT_BYTES} bytes"
            continue
        try:
            return Path(tempfile.mkdtemp(prefix="ray-", dir=parent))
        except OSError as error:
            reason = reason or f"{parent}: {error.strerror}"
    raise CorpusError(
        f"no folder for Ray's sockets and logs ({reason}); set TMPDIR to a folder that can be written and "
        f"has at most {_MAX_PARENT_BYTES} bytes",
        exit_code=EXIT_ADDRESS,
    )


@contextlib.contextmanager
def _home(folder: Path | None) -> Iterator[None]:
    """Lets Ray, which writes there, take this folder as the home directory for the time of the block."""
    os.environ["HOME"] = str(folder)
    try:
        yield
    finally:
        del os.environ["HOME"]


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keeps the command's answer to SIGTERM, in whose place Ray puts one that exits with 15."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere, Ray sets none
            signal.signal(signal.SIGTERM, handler)


def _unreachable(address: str | None, reason: str) -> str:
    if address is None:
        return (
            f"Ray cannot be started on this machine: {reason}; put that right, or name a cluster by --address"
        )
    return f"no Ray cluster at --address {address}: {reason}; see `ray status` there, or leave it out"


def _reach(address: str | None) -> None:
    """Connects to the address once, which takes seconds at most; Ray itself tries for minutes.

    Raises:
        ValueError: It is no address of a cluster.
        OSError: Nothing listens there.
    """
    if address in {None, "auto", "local"}:
        return
    found = _HOST_AND_PORT.fullmatch(address or "")
    if found is None:
        raise ValueError("it is not HOST:PORT, ray://HOST:PORT or auto")
    with socket.create_connection((found[1], int(found[2])), timeout=_REACH_TIMEOUT_S):
        pass


def core_count() -> int:
    """The cores that the cluster's tasks may take."""
    resources = ray.cluster_resources()
    return max(1, int(resources.get("CPU", 1)))


def fingerprints() -> dict[str, str]:
    """The fingerprint of each machine of the cluster that has cores, proved there.

    Raises:
        CorpusError: A machine can't keep the bits promise.
        WorkerLostError: A machine is gone.
    """
    nodes = [node for node in _nodes() if node["Alive"] and node["Resources"].get("CPU")]
    proving = [
        _prove.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in nodes
    ]
    found: dict[str, str] = {}
    try:
        proofs = ray.get(proving)
    except ray.exceptions.RayError as error:
        raise WorkerLostError(
            f"{_last_line(error)}, while it proved its bits; the same command resumes",
            exit_code=EXIT_UNFINISHED,
        ) from None
    for node, proof in zip(nodes, proofs, strict=True):
        if proof["error"]:
            raise CorpusError(f"{node['NodeManagerAddress']}: {proof['error']}", exit_code=EXIT_PROOF)
        found[f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"] = proof["fingerprint"]
    return found


def _nodes() -> list[dict[str, Any]]:
    return list(ray.nodes())


@ray.remote(
    num_cpus=1
)  # its process waits for the next task and may become an actor, which finds torch loaded
def _prove() -> dict[str, str]:
    from unrolled_server.engine import Engine, ProofError  # noqa: PLC0415 - torch is for this process alone

    engine = Engine(device="cpu")
    try:
        engine.prove()
    except ProofError as error:
        return {"error": str(error), "fingerprint": ""}
    return {"error": "", "fingerprint": engine.fingerprint}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """What is done to numbered units of work.

    Attributes:
        make: Gives what does a unit.
        is_kept: Whether what was made is kept for the next unit, in an actor; else each unit makes it anew,
            in a process that Ray has at hand, which is quicker to start.
    """

    make: Callable[[], Work]
    is_kept: bool = False


def run(numbers: Sequence[int], done: Pass, *, worker_count: int) -> Iterator[Record]:
    """Does the units with these numbers; gives their records in the order of the numbers.

    Args:
        numbers: Of the units.
        done: What is done to each.
        worker_count: Processes, of one core each.

    Raises:
        CorpusError: What a unit raised; of several that fail, the first in order.
        WorkerLostError: A process or a machine is gone; what is not done may be done by others.
    """
    if not numbers:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    units = ray.data.from_items(
        [{"number": number} for number in numbers], override_num_blocks=min(len(numbers), _MAX_BLOCKS)
    )
    mapped = _mapped(units, done, size=min(worker_count, len(numbers)))
    try:
        for row in mapped.iter_rows():
            if row["error"]:
                raise CorpusError(row["error"], exit_code=row["exit_code"])
            yield json.loads(row["record"])
    except (ray.exceptions.RayError, ray.data.exceptions.RayDataUserCodeException) as error:
        raise WorkerLostError(_last_line(error), exit_code=EXIT_UNFINISHED) from None


def _mapped(units: ray.data.Dataset, done: Pass, *, size: int) -> ray.data.Dataset:
    if not done.is_kept:
        tasks = ray.data.TaskPoolStrategy(size)
        return units.map(cast("Any", _do), fn_args=(done.make,), num_cpus=1, compute=tasks)
    actors = ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2)
    with warnings.catch_warnings():
        # Ray names no other way yet to say of an actor what `_without_restarts` says.
        warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
        return units.map(
            cast("Any", Worker),
            fn_constructor_args=(done.make,),
            num_cpus=1,
            compute=actors,
            ray_remote_args_fn=_without_restarts,
        )


def _without_restarts() -> dict[str, Any]:
    """Who restarts is the job: Ray's core would warn, on standard error, that its own restarts may fail."""
    return {"max_restarts": 0}


def _last_line(error: Exception) -> str:
    """What is wrong; the lines above it are where."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"a worker failed: {lines[-1]}"


def _do(row: Mapping[str, Any], make: Callable[[], Work]) -> dict[str, Any]:
    return Worker(make)(row)


class Worker:
    """Does units, and tells what is wrong with one in place of its record."""

    def __init__(self, make: Callable[[], Work]) -> None:
        self._work: Work | None = None
        self._failure: dict[str, Any] = {}
        try:
            self._work = make()
        except (CorpusError, VectorsError, OSError) as error:
            self._failure = _failure(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The record of the unit in `row`, as JSON, or an error."""
        if self._work is None:
            return self._failure
        try:
            record = self._work(int(row["number"]))
        except (CorpusError, VectorsError, OSError, pa.ArrowException) as error:
            return _failure(error)
        return {"record": json.dumps(record), "error": "", "exit_code": 0}


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, VectorsError):
        error = CorpusError(str(error), exit_code=EXIT_VECTORS)
    elif isinstance(error, pa.ArrowException) and not isinstance(error, OSError):
        error = CorpusError(f"pyarrow failed: {error}", exit_code=EXIT_UNFINISHED)
    elif isinstance(error, OSError):
        error = unwritable(error)
    exit_code = error.exit_code if isinstance(error, CorpusError) else EXIT_UNFINISHED
    return {"record": "", "error": str(error), "exit_code": exit_code}
