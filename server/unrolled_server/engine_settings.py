"""The settings that a server and an engine in the caller's process share, checked for Python callers."""

import operator
import os
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self, SupportsIndex, TypeAlias, get_args

from unrolled_server.cores import usable_cores
from unrolled_server.paths import check_names, check_path, expand_home, parse_named_files, vectors_directory

Device = Literal["auto", "cpu", "cuda", "mps"]
VectorSource: TypeAlias = Path | tuple[Iterable[str], Any]
MAX_INT32 = 2**31 - 1
MAX_THREADS = 32  # of the native core
MOST = {
    "max_words": MAX_INT32,
    "max_word_length": MAX_INT32,
    "max_hidden_size": MAX_INT32,
    "max_alphabet_size": MAX_INT32,
    "max_request_bytes": MAX_INT32,
    "max_reply_bytes": 2**30,
    "compute_threads": MAX_THREADS,
    "state_memory_mb": MAX_INT32,
}
"""The largest value of each number; the smallest is 1, except compute_threads' 0."""
SERVER_SETTINGS = frozenset(
    {
        "address", "allow_plaintext", "drain_timeout_s", "exit_with_stdin", "keepalive_s", "log_format",
        "log_level", "max_connection_age_s", "max_connection_idle_s", "max_connections", "max_inflight_gmul",
        "max_inflight_mb", "max_metadata_bytes", "max_queue_s", "max_stream_bytes",
        "max_streams_per_connection", "metrics_address", "otel", "reflection", "reply_memory_mb",
        "send_timeout_s", "tls_certificate", "tls_client_ca", "tls_key", "tokens", "workers",
    }
)  # fmt: skip
"""The names of the settings that only a server has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for. Symbols are code points; bytes are of one message."""

    max_words: int = 65_536
    max_word_length: int = 1_024
    max_hidden_size: int = 4_096
    max_alphabet_size: int = 16_384
    max_request_bytes: int = 32 * 2**20
    max_reply_bytes: int = 32 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """Settings of an engine in the caller's process; a server has them, too. See `of`.

    Attributes:
        compute_threads: Threads of the native core that share the computing. `of` replaces 0 by one for each
            core that the process may use.
        state_memory_mb: MiB for networks and their computed states.
        vectors: Files of word vectors, or (words, matrix), by the names that requests use.
        vectors_cache: Directory for converted vectors files; None is the user's cache directory.
    """

    limits: Limits = field(default_factory=Limits)
    device: Device = "auto"
    compute_threads: int = 0
    state_memory_mb: int = 1_024
    vectors: Mapping[str, VectorSource] = field(default_factory=dict)
    vectors_cache: Path | None = None

    @classmethod
    def of(cls, **given: object) -> Self:
        """Returns checked settings from the arguments of a Python caller; None is the default.

        Limits are arguments like the others. The environment has no effect: UNROLLED_* variables are a
        server's settings.

        Raises:
            TypeError: A name is not a setting, or only of a server; or a value has the wrong type.
            ValueError: A value is out of range or malformed, or a file cannot be read.
        """
        for name in given:
            _check_name(name)
        checked = {name: _CHECKS[name](name, value) for name, value in given.items() if value is not None}
        limits = Limits(**{name: checked.pop(name) for name in _LIMITS if name in checked})
        threads = choose_threads(checked.pop("compute_threads", 0))
        settings = cls(limits=limits, compute_threads=threads, **checked)
        if any(isinstance(source, Path) for source in settings.vectors.values()):
            vectors_directory(settings.vectors_cache)  # raises without a home directory
        return settings


def choose_threads(compute_threads: int, *, workers: int = 1) -> int:
    """Returns how many threads compute in each of `workers` processes; 0 means its share of the cores."""
    return compute_threads or min(max(usable_cores() // workers, 1), MAX_THREADS)


_PATH = (str, os.PathLike)
_LIMITS = tuple(limit.name for limit in fields(Limits))


def _whole_number(name: str, given: object) -> int:
    least, most = int(name != "compute_threads"), MOST[name]
    if isinstance(given, bool) or not isinstance(given, SupportsIndex):
        raise TypeError(f"{name} is {given!r}; give a whole number from {least} to {most}")
    number = operator.index(given)
    if not least <= number <= most:
        raise ValueError(f"{name} is {number}; it may be {least} to {most}")
    return number


def _device(name: str, given: object) -> object:
    if given not in get_args(Device):
        raise ValueError(f"{name} is {given!r}; give one of {', '.join(map(repr, get_args(Device)))}")
    return given


def _vectors(name: str, given: object) -> dict[str, VectorSource]:
    files, in_memory = given, {}
    if isinstance(given, Mapping):
        in_memory = {key: source for key, source in given.items() if isinstance(source, tuple)}
        files = {key: source for key, source in given.items() if key not in in_memory}
        is_right = all(isinstance(key, str) for key in given)
        is_right &= all(isinstance(file, _PATH) for file in files.values())
        is_right &= all(len(source) == len(("words", "matrix")) for source in in_memory.values())
    else:
        is_right = isinstance(given, str | list | tuple) and all(isinstance(entry, str) for entry in given)
    if not is_right:
        raise TypeError(
            f"{name} is {reprlib.repr(given)}; give 'NAME=FILE', a list of these, or a dict from NAME to "
            "FILE or to (WORDS, MATRIX)"
        )
    try:
        check_names(in_memory)
        return parse_named_files(files) | in_memory  # type: ignore[arg-type]
    except ValueError as error:
        raise ValueError(f"{name} is {given!r:.200}: {error}") from None


def _directory(name: str, given: object) -> Path:
    if not isinstance(given, _PATH):
        raise TypeError(f"{name} is {given!r}; give a path")
    try:
        return expand_home(check_path(given))
    except ValueError as error:
        raise ValueError(f"{name} is {given!r}: {error}") from None


_CHECKS: dict[str, Callable[[str, object], Any]] = {
    **dict.fromkeys(MOST, _whole_number),
    "device": _device,
    "vectors": _vectors,
    "vectors_cache": _directory,
}


def _check_name(name: str) -> None:
    if name in _CHECKS:
        return
    if name in SERVER_SETTINGS:
        raise TypeError(
            f"{name} is a setting of a server's, and this computes in your own process; leave it out, or "
            "start unrolled-server with it"
        )
    near = get_close_matches(name, _CHECKS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_CHECKS)}"
    raise TypeError(f"{name} is not a setting; {hint}")
