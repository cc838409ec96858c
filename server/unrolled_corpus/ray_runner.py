"""Runs numbered units of work with Ray Data, on this machine or on a cluster.

Ray's object store gets numbers and small records only; texts and vectors go from file to file.
"""

import contextlib
import json
import logging
import os
import re
import signal
import socket
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import pyarrow as pa
import ray
import ray.data
import ray.data.exceptions
import ray.exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from unrolled_server.exit_codes import EXIT_ADDRESS, EXIT_ENGINE, EXIT_UNFINISHED

from unrolled_corpus.errors import CorpusError, describe_os_error

OBJECT_STORE_BYTES = 128 << 20
_MAX_BLOCKS = 1_000
_HOST_AND_PORT = re.compile(r"(?:ray://)?\[?([^/]+?)\]?:(\d{1,5})")
_CONNECT_TIMEOUT_S = 10
# A socket's path has up to 107 bytes, on macOS 103; below a folder ray-XXXXXXXX Ray's names take 77.
_MAX_PARENT_BYTES = 103 - 77

Record: TypeAlias = Mapping[str, Any]
UnitFunction: TypeAlias = Callable[[int], Record]
MakeFunction: TypeAlias = Callable[[], UnitFunction]


class WorkerLostError(CorpusError):
    """A worker died, or failed with an error that is not the job's."""


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connects to the cluster at the address, or starts Ray on this machine, until the block ends."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "address": address}
    has_home = os.path.expanduser("~") != "~"  # noqa: PTH111 - pathlib's raises there
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(_temporary_folder()) if address is None or not has_home else ""
        if address is None:
            options |= {"address": "local", "_temp_dir": folder, "include_dashboard": False}
            options["object_store_memory"] = OBJECT_STORE_BYTES
        if not has_home:  # Ray writes there
            os.environ["HOME"] = folder
            stack.callback(os.environ.pop, "HOME")
        try:
            _check_reachable(address)
            with _unchanged_sigterm():
                ray.init(**options)
        except Exception as error:  # noqa: BLE001 - Ray raises Exception itself, as for a slow start
            reason = str(error).strip().partition("\n")[0]  # some errors contain a traceback
            raise CorpusError(_describe_unreachable(address, reason), exit_code=EXIT_ADDRESS) from None
        try:
            yield
        finally:
            ray.shutdown()


def _temporary_folder(*parents: str) -> tempfile.TemporaryDirectory[str]:
    """Makes a private folder for Ray's sockets and logs in the first of these folders that allows it.

    Ray's own choice, ray/ in TMPDIR, may belong to another user or be too long for a socket's path.
    """
    parents = parents or (os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108
    reasons = []
    for parent in map(os.path.abspath, parents):  # Ray's processes have other working directories
        if len(os.fsencode(parent)) > _MAX_PARENT_BYTES:
            reasons.append(f"{parent} is longer than {_MAX_PARENT_BYTES} bytes")
            continue
        try:
            return tempfile.TemporaryDirectory(prefix="ray-", dir=parent, ignore_cleanup_errors=True)
        except OSError as error:
            reasons.append(f"{parent}: {error.strerror}")
    raise CorpusError(
        f"no folder for Ray's sockets and logs ({reasons[0]}); set TMPDIR to a folder that can be written "
        f"and has at most {_MAX_PARENT_BYTES} bytes",
        exit_code=EXIT_ADDRESS,
    )


@contextlib.contextmanager
def _unchanged_sigterm() -> Iterator[None]:
    """Restores the command's SIGTERM handler, which Ray replaces by one that exits with 15."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # elsewhere, Ray sets none
            signal.signal(signal.SIGTERM, handler)


def _describe_unreachable(address: str | None, reason: str) -> str:
    if address is None:
        return (
            f"Ray cannot be started on this machine: {reason}; put that right, or name a cluster by --address"
        )
    return f"no Ray cluster at --address {address}: {reason}; see `ray status` there, or leave it out"


def _check_reachable(address: str | None) -> None:
    """Connects to the address once, within seconds; Ray itself tries for minutes."""
    if address in {None, "auto", "local"}:
        return
    found = _HOST_AND_PORT.fullmatch(address or "")
    if found is None:
        raise ValueError("it is not HOST:PORT, ray://HOST:PORT or auto")
    with socket.create_connection((found[1], int(found[2])), timeout=_CONNECT_TIMEOUT_S):
        pass


def fingerprints() -> dict[str, str]:
    """Returns the engine's fingerprint on each machine of the cluster that has cores, verified there."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    strategies = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    try:
        verified = ray.get(
            [_verify.options(scheduling_strategy=strategy).remote() for strategy in strategies]
        )
    except ray.exceptions.RayError as error:
        raise WorkerLostError(
            f"{_describe_lost(error)}, while it verified its bits; the same command resumes",
            exit_code=EXIT_UNFINISHED,
        ) from None
    found: dict[str, str] = {}
    for node, (fingerprint, fault) in zip(nodes, verified, strict=True):
        if fault:
            raise CorpusError(f"{node['NodeManagerAddress']}: {fault}", exit_code=EXIT_ENGINE)
        found[f"{node['NodeManagerAddress']} ({node['NodeID'][:8]})"] = fingerprint
    return found


@ray.remote(num_cpus=1)
def _verify() -> tuple[str, str]:
    """Returns the fingerprint and the fault; its process may become an actor, with the core loaded."""
    from unrolled_server.engine import CoreError, Engine  # noqa: PLC0415 - only this process needs the core

    try:
        engine = Engine(device="cpu")
        engine.verify()
    except CoreError as error:
        return "", str(error)
    return engine.fingerprint, ""


def run_units(
    numbers: Sequence[int], make_function: MakeFunction, *, use_actors: bool, worker_count: int | None
) -> Iterator[Record]:
    """Processes the units with these numbers and yields their records in order.

    Args:
        numbers: Those of the units.
        make_function: Returns the function that processes a unit. Each unit is a task that calls it.
        use_actors: Starts actors that call `make_function` once, which is worth it for slow ones.
        worker_count: Processes of one core each; None takes all cores.

    Raises:
        CorpusError: The error of the first unit that failed.
        WorkerLostError: A process or a machine is gone; other workers can process the rest.
    """
    if not numbers:
        return
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    units = ray.data.from_items(
        [{"number": number} for number in numbers], override_num_blocks=min(len(numbers), _MAX_BLOCKS)
    )
    map_units = _map_in_actors if use_actors else _map_in_tasks
    core_count = max(1, int(ray.cluster_resources().get("CPU", 1)))
    size = min(worker_count or core_count, len(numbers))
    try:
        for row in map_units(units, make_function, size=size).iter_rows():
            if row["error"]:
                raise CorpusError(row["error"], exit_code=row["exit_code"])
            yield json.loads(row["record"])
    except (ray.exceptions.RayError, ray.data.exceptions.RayDataUserCodeException) as error:
        raise WorkerLostError(_describe_lost(error), exit_code=EXIT_UNFINISHED) from None


def _map_in_tasks(units: ray.data.Dataset, make_function: MakeFunction, *, size: int) -> ray.data.Dataset:
    tasks = ray.data.TaskPoolStrategy(size)
    return units.map(cast("Any", _process), fn_args=(make_function,), num_cpus=1, compute=tasks)


def _map_in_actors(units: ray.data.Dataset, make_function: MakeFunction, *, size: int) -> ray.data.Dataset:
    with warnings.catch_warnings():
        # Ray has no other way yet to set an actor's options.
        warnings.filterwarnings("ignore", "`ray_remote_args_fn` is deprecated")
        return units.map(
            cast("Any", UnitWorker),
            fn_constructor_args=(make_function,),
            num_cpus=1,
            compute=ray.data.ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=2),
            # The job replaces actors itself; Ray would warn that its own restarts may fail.
            ray_remote_args_fn=lambda: {"max_restarts": 0},
        )


def _describe_lost(error: Exception) -> str:
    """Returns the last line, which has the reason; the traceback is above it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"a worker failed: {lines[-1]}"


class UnitWorker:
    """Processes units, and returns an error as a row in place of the record."""

    def __init__(self, make_function: MakeFunction) -> None:
        self._function: UnitFunction | None = None
        self._failure: dict[str, Any] = {}
        try:
            self._function = make_function()
        except (CorpusError, OSError) as error:
            self._failure = _error_row(error)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the record of the unit in `row`, as JSON, or an error."""
        if self._function is None:
            return self._failure
        try:
            record = self._function(int(row["number"]))
        except (CorpusError, OSError, pa.ArrowException) as error:
            return _error_row(error)
        return {"record": json.dumps(record), "error": "", "exit_code": 0}


def _process(row: Mapping[str, Any], make_function: MakeFunction) -> dict[str, Any]:
    return UnitWorker(make_function)(row)


def _error_row(error: Exception) -> dict[str, Any]:
    if isinstance(error, OSError):
        error = describe_os_error(error)
    elif not isinstance(error, CorpusError):
        error = CorpusError(f"pyarrow failed: {error}", exit_code=EXIT_UNFINISHED)
    return {"record": "", "error": str(error), "exit_code": error.exit_code}
