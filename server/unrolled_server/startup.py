"""What a server and the service in a caller's process start with."""

import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import (
    CoreError,
    DeviceUnavailableError,
    DeviceUnstableError,
    Engine,
    InstructionSetError,
    WordVectors,
)
from unrolled_server.engine_settings import Limits, VectorSource
from unrolled_server.exit_codes import EXIT_DEVICE, EXIT_ENGINE, EXIT_SETTINGS, StartupError
from unrolled_server.paths import vectors_directory
from unrolled_server.word_vectors import VectorTable, open_vectors, table_in_memory


class EngineOptions(Protocol):
    """The settings of an engine and its word vectors."""

    @property
    def device(self) -> str: ...
    @property
    def compute_threads(self) -> int: ...
    @property
    def state_memory_mb(self) -> int: ...
    @property
    def vectors(self) -> Mapping[str, VectorSource]: ...
    @property
    def vectors_cache(self) -> Path | None: ...


def open_tables(settings: EngineOptions, *, stop: threading.Event | None = None) -> Mapping[str, VectorTable]:
    """Returns the word vectors by name. A file that is new to this machine takes some seconds.

    Setting `stop` from another thread cancels a conversion. Raises StartupError, and TypeError or ValueError
    for those in memory.
    """
    tables = {}
    for name, source in settings.vectors.items():
        if isinstance(source, Path):
            cache = vectors_directory(settings.vectors_cache)
            tables[name] = open_vectors(name, source, cache_directory=cache, stop=stop)
        else:
            tables[name] = table_in_memory(name, *source)
    return tables


def verified_engine(settings: EngineOptions, tables: Iterable[VectorTable]) -> Engine:
    """Returns an engine that gives the right bits; raises StartupError."""
    try:
        engine = Engine(
            device=settings.device,
            threads=settings.compute_threads,
            state_memory_bytes=settings.state_memory_mb * 2**20,
            vectors=[WordVectors(table.digest, table.rows, table.mean) for table in tables],
        )
        engine.verify()
    except DeviceUnavailableError as error:
        raise StartupError(str(error), exit_code=EXIT_DEVICE) from error
    except InstructionSetError as error:
        raise StartupError(str(error), exit_code=EXIT_SETTINGS) from error
    except (CoreError, DeviceUnstableError) as error:
        raise StartupError(str(error), exit_code=EXIT_ENGINE) from error
    return engine


def server_info(engine: Engine, limits: Limits, tables: Iterable[VectorTable]) -> pb.GetServerInfoReply:
    """Returns the reply to GetServerInfo."""
    return pb.GetServerInfoReply(
        version=version("unrolled"),
        torch_version=_torch_version(),
        device=engine.device,
        instruction_set=engine.isa,
        fingerprint=engine.fingerprint,
        limits=pb.Limits(**asdict(limits)),
        vectors=[
            pb.Vectors(name=table.name, word_count=table.word_count, size=table.size, digest=table.digest)
            for table in tables
        ],
    )


def _torch_version() -> str:
    """Returns the version in the metadata of torch, or "" if it is not installed; an import takes seconds."""
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""
