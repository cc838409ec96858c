"""The server's settings: one typed model, filled from flags, then `UNROLLED_*`, then defaults.

An empty variable is the same as none, because that is how deployments write what they do not set.
"""

import os
import re
from dataclasses import dataclass, fields
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    CliImplicitFlag,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from unrolled_server.paths import NoHomeError, default_cache_directory, expand_home, is_url, parse_named_files
from unrolled_server.settings.address_forms import UNIX, checked_address, checked_host_port

MAX_INT32 = 2**31 - 1
TOTALS = ("state_memory_mb", "reply_memory_mb", "max_inflight_mb", "max_inflight_gmul")
"""Settings that count for all workers together."""


MAX_SECONDS = MAX_INT32 // 1_000  # gRPC counts milliseconds in an int32

_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")

DEFAULT_PORT = 50_051
DEFAULT_METRICS_PORT = 9_464
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"


def _refuse_what_is_no_path(path: object) -> object:
    """Refuses URLs, and "", which a script gives where a variable is not set and is the working directory."""
    if path == "":
        raise ValueError("it is empty; give a path, or leave the flag out")
    if isinstance(path, str) and is_url(path):
        raise ValueError("this is a URL; give a path")
    return path


def _checked_metrics_address(given: str) -> str:
    return given and checked_host_port(given, default_port=DEFAULT_METRICS_PORT)


Address = Annotated[str, AfterValidator(partial(checked_address, default_port=DEFAULT_PORT))]
MetricsAddress = Annotated[str, AfterValidator(_checked_metrics_address)]
File = Annotated[
    Path | None,
    BeforeValidator(_refuse_what_is_no_path),
    AfterValidator(lambda path: path and expand_home(path)),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a request may ask for; counts are of code points, bytes are of one message."""

    max_words: int
    max_word_length: int
    max_hidden_size: int
    max_alphabet_size: int
    max_request_bytes: int
    max_reply_bytes: int


def refuse_what_otel_cannot_use(otel: bool) -> bool:  # noqa: FBT001 - a validator's signature
    """Refuses OpenTelemetry without its packages, or with an interval of its environment that is none."""
    if not otel:
        return otel
    if not all(map(_is_installed, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc"))):
        raise ValueError("its packages are not installed: pip install 'unrolled[otel]'")
    interval = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "1")
    if not re.fullmatch(r"0*[1-9]\d*", interval):
        raise ValueError(
            f"OTEL_METRIC_EXPORT_INTERVAL is {interval!r}; it must be a whole number of milliseconds above 0"
        )
    return otel


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # nor is what it would be in
        return False


class Settings(BaseSettings):
    """Serves recurrent forward passes over gRPC. Each flag is also an environment variable, UNROLLED_*."""

    model_config = SettingsConfigDict(
        env_prefix="UNROLLED_",
        extra="forbid",
        frozen=True,
        cli_prog_name="unrolled-server",
        cli_exit_on_error=False,
        cli_kebab_case=True,
        cli_hide_none_type=True,
    )

    address: Address = Field(
        default=DEFAULT_ADDRESS,
        description=(
            "Where to listen: HOST:PORT (port 0 takes a free one; [::]:PORT is every interface) or unix:PATH"
        ),
    )
    workers: PositiveInt = Field(
        default=1,
        le=256,
        description="Processes that serve on the port; memory and overload limits are shared out among them",
    )
    tls_certificate: File = Field(
        default=None,
        description=(
            "PEM file of the server's certificate and those above it; turns TLS on. This and the next three "
            "files are read again when they change"
        ),
    )
    tls_key: File = Field(default=None, description="PEM file of the certificate's key")
    tls_client_ca: File = Field(
        default=None,
        description="PEM file of those who may vouch for clients; a client without a certificate is refused",
    )
    tokens: File = Field(
        default=None,
        description="File with lines NAME TOKEN; a call without one of these bearer tokens is refused",
    )
    allow_plaintext: CliImplicitFlag[bool] = Field(
        default=False,
        description="Listen without TLS where other machines may reach it: they can read and change all",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto",
        description="Where to compute; auto takes the accelerator that torch offers, else the CPU",
    )
    compute_threads: PositiveInt = Field(
        default=1, le=256, description="Threads that compute; each network belongs to one of them"
    )
    state_memory_mb: PositiveInt = Field(
        default=1_024,
        description="MiB for networks and known states, all threads together; the least used leave first",
    )
    reply_memory_mb: NonNegativeInt = Field(
        default=16, le=2**20, description="MiB for small replies that may be asked for again; 0 keeps none"
    )
    max_words: PositiveInt = Field(default=65_536, le=MAX_INT32, description="Words in one request")
    max_word_length: PositiveInt = Field(default=1_024, le=MAX_INT32, description="Symbols in one word")
    max_hidden_size: PositiveInt = Field(default=4_096, le=MAX_INT32, description="Units of the hidden state")
    max_alphabet_size: PositiveInt = Field(
        default=16_384, le=MAX_INT32, description="Symbols of an alphabet, given or derived"
    )
    max_request_bytes: PositiveInt = Field(
        default=32 * 2**20, le=MAX_INT32, description="Bytes of one request message"
    )
    max_reply_bytes: PositiveInt = Field(
        default=32 * 2**20, le=2**30, description="Bytes of the array in one reply message"
    )
    max_stream_bytes: PositiveInt = Field(
        default=16 * 2**20,
        le=2**40,
        description="Bytes of requests and replies that one stream holds; beyond, it is not read from",
    )
    max_inflight_mb: PositiveInt = Field(
        default=256,
        le=2**20,
        description=(
            "MiB of requests and replies in flight, all calls together, of which one client gets half; "
            "beyond, requests are refused"
        ),
    )
    max_inflight_gmul: PositiveInt = Field(
        default=1_000,
        le=10**9,
        description=(
            "Billions of multiplications that wait (a core does about 40 a second); "
            "beyond, requests are refused"
        ),
    )
    max_queue_s: float = Field(
        default=10.0,
        gt=0,
        le=MAX_SECONDS,
        description=(
            "Seconds that a request may have to wait for others; beyond, and where its deadline is nearer, "
            "it is refused"
        ),
    )
    send_timeout_s: float = Field(
        default=60.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds that a client may take to read one reply; then its connection is closed",
    )
    max_metadata_bytes: PositiveInt = Field(
        default=16_384, ge=1_024, le=2**20, description="Bytes of metadata that come with one call"
    )
    max_connections: PositiveInt = Field(
        default=10_000, le=MAX_INT32, description="Connections at a time; further ones are closed"
    )
    max_streams_per_connection: PositiveInt = Field(
        default=1_000, le=MAX_INT32, description="Calls at a time on one connection; further ones wait"
    )
    max_connection_age_s: float = Field(
        default=0,
        ge=0,
        le=MAX_SECONDS,
        description=(
            "Seconds after which a connection is to be made anew, so that clients spread over servers; its "
            "calls get drain_timeout_s to end. 0 is no end"
        ),
    )
    max_connection_idle_s: float = Field(
        default=3_600,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds without a call after which a connection is closed; 0 is no end",
    )
    keepalive_s: float = Field(
        default=60,
        ge=1,
        le=MAX_SECONDS,
        description="Seconds of silence after which a client is pinged; without an answer in 20 s it is gone",
    )
    # Undecoded: flags and environment give the same text to the same parser.
    vectors: Annotated[dict[str, Path], NoDecode, BeforeValidator(parse_named_files)] = Field(
        default={},
        description=(
            "NAME=FILE: word vectors that requests may name, as GloVe text, word2vec text or fastText .vec. "
            "May be given again; several at once by commas or as JSON, and so in UNROLLED_VECTORS"
        ),
    )
    vectors_cache: File = Field(
        default=None,
        description=(
            "Directory for the converted form of vectors files, made at the first start with each; without "
            "it, unrolled in XDG_CACHE_HOME or ~/.cache"
        ),
    )
    metrics_address: MetricsAddress = Field(
        default="",
        description=(
            "Where Prometheus finds metrics: HOST:PORT, at /metrics (port 0 takes a free one); empty for none"
        ),
    )
    drain_timeout_s: float = Field(
        default=30.0,
        ge=0,
        le=MAX_SECONDS,
        description="Seconds that accepted work gets to finish after SIGTERM",
    )
    reflection: CliImplicitFlag[bool] = Field(
        default=True, description="Describe the service to tools that ask (gRPC reflection)"
    )
    exit_with_stdin: CliImplicitFlag[bool] = Field(
        default=False, description="Stop when standard input ends, and so with the process that holds it"
    )
    otel: Annotated[CliImplicitFlag[bool], AfterValidator(refuse_what_otel_cannot_use)] = Field(
        default=False,
        description=(
            "Send a span for each request, and the metrics, by OpenTelemetry, as OTEL_* says "
            "(pip install 'unrolled[otel]')"
        ),
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info",
        description="Least severe messages to write to standard error; debug has a line for each request",
    )
    log_format: Literal["console", "json"] = Field(
        default="console", description="How messages look: for people, or one JSON object each"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Returns the sources below flags. `env_ignore_empty` of the model would ignore empty flags, too."""
        return init_settings, EnvSettingsSource(settings_cls, env_ignore_empty=True)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_other_kinds_of_number(cls, given: object, info: ValidationInfo) -> object:
        """Refuses what pydantic would turn into another number without a word: True for 1, 64.0 for 64."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind in (int, float) and isinstance(given, bool):
            raise ValueError("this is a bool; give a number")
        is_loose = isinstance(given, float) or (isinstance(given, str) and not _WHOLE.fullmatch(given))
        if kind is int and is_loose:
            raise ValueError("give a whole number, such as 64")
        return given

    @field_validator("workers")
    @classmethod
    def _can_share_the_address(cls, workers: int, info: ValidationInfo) -> int:
        address = info.data.get("address", "")  # not there if it is wrong itself
        if workers > 1 and address.startswith(UNIX):
            raise ValueError(
                f"{address} is a Unix socket, which only 1 worker can have; "
                "set workers to 1 or address to HOST:PORT"
            )
        return workers

    def share(self) -> "Settings":
        """What one worker gets: its part of the totals, at least 1 of what is not 0, and all else."""
        totals = {name: getattr(self, name) for name in TOTALS}
        parts = {name: min(total, max(total // self.workers, 1)) for name, total in totals.items()}
        return self.model_copy(update=parts)

    @model_validator(mode="after")
    def _tls_goes_together(self) -> Self:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("tls_certificate and tls_key go together; give both or neither")
        if self.tls_certificate is None and self.tls_client_ca is not None:
            raise ValueError("tls_client_ca needs TLS; give tls_certificate and tls_key as well")
        if self.tls_certificate is not None and self.address.startswith(UNIX):
            raise ValueError(
                f"tls_certificate is for HOST:PORT, and address is {self.address}, which only this "
                "machine reaches; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _has_a_cache(self) -> Self:
        if self.vectors:
            try:
                self.cache_directory()
            except NoHomeError as error:
                raise ValueError(f"{error}, or give vectors_cache") from None
        return self

    def cache_directory(self) -> Path:
        """Returns where the converted form of vectors files is kept.

        Raises:
            NoHomeError: Nothing says where, and this user has no home directory.
        """
        return self.vectors_cache or default_cache_directory()

    @property
    def state_memory_bytes_per_thread(self) -> int:
        """Each compute thread's share of the budget."""
        return self.state_memory_mb * 2**20 // self.compute_threads

    @property
    def stream_bytes(self) -> int:
        """What one stream may hold: no more than one client, so that a lone stream waits instead."""
        return min(self.max_stream_bytes, self.max_inflight_mb * 2**20 // 2)

    def limits(self) -> Limits:
        """What requests may ask for."""
        return Limits(**self.model_dump(include={field.name for field in fields(Limits)}))


def described(error: ValidationError) -> str:
    """Returns what is wrong with the settings, in one line that names each."""
    return "; ".join(map(_described, error.errors()))


def _described(error: ErrorDetails) -> str:
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    name = "_".join(map(str, error["loc"]))
    if not name:  # of settings that do not go together
        return reason
    return f"{name} is {error['input']!r}: {reason}"
