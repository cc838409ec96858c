"""The server's settings: one typed model, filled from flags, then `UNROLLED_*`, then defaults."""

import os
import re
from dataclasses import fields
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

from unrolled_server.engine_settings import MAX_INT32, MOST, Device, EngineSettings, Limits, choose_threads
from unrolled_server.paths import check_path, expand_home, parse_named_files, vectors_directory
from unrolled_server.settings.address_forms import UNIX, parse_address, parse_host_port

TOTALS = ("state_memory_mb", "reply_memory_mb", "max_inflight_mb", "max_inflight_gmul")
"""Settings that count for all workers together."""
MAX_SECONDS = MAX_INT32 // 1_000  # gRPC counts milliseconds in an int32
DEFAULT_PORT = 50_051
DEFAULT_METRICS_PORT = 9_464
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"

_ENGINE = EngineSettings()
_LIMITS = Limits()
_WHOLE_NUMBER = re.compile(r"\s*[+-]?[0-9]+\s*")


def _check_path(path: object) -> object:
    return check_path(path) if isinstance(path, str) else path


def _parse_metrics_address(given: str) -> str:
    return given and parse_host_port(given, default_port=DEFAULT_METRICS_PORT)


Count = Annotated[int, Field(gt=0, le=MAX_INT32)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Address = Annotated[str, AfterValidator(partial(parse_address, default_port=DEFAULT_PORT))]
MetricsAddress = Annotated[str, AfterValidator(_parse_metrics_address)]
File = Annotated[
    Path | None, BeforeValidator(_check_path), AfterValidator(lambda path: path and expand_home(path))
]


def _check_otel(otel: bool) -> bool:  # noqa: FBT001 - a validator's signature
    """Refuses OpenTelemetry without its packages, or with a variable that only the export of metrics had."""
    if not otel:
        return otel
    if not all(map(_is_installed, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.grpc"))):
        raise ValueError("its packages are not installed: pip install 'unrolled[otel]'")
    if "OTEL_METRIC_EXPORT_INTERVAL" in os.environ:
        raise ValueError(
            "OTEL_METRIC_EXPORT_INTERVAL is set, and the server does not send metrics by OTLP any more; "
            "unset it, and have the collector scrape metrics_address"
        )
    return otel


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # its parent package is missing, too
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
        DEFAULT_ADDRESS,
        description="Address to listen on: HOST:PORT (port 0 takes a free one; [::]:PORT is every interface) "
        "or unix:PATH",
    )
    workers: PositiveInt = Field(
        1, le=256, description="Processes that serve on the address; they share memory and overload limits"
    )
    tls_certificate: File = Field(
        None,
        description="PEM file of the server's certificate and its chain; turns TLS on. The server reloads "
        "this file and the next three when they change",
    )
    tls_key: File = Field(None, description="PEM file of the certificate's private key")
    tls_client_ca: File = Field(
        None,
        description="PEM file of the authorities of client certificates; clients without one are refused",
    )
    tokens: File = Field(
        None, description="File with lines NAME TOKEN; calls without one of these bearer tokens are refused"
    )
    allow_plaintext: CliImplicitFlag[bool] = Field(
        False,
        description="Listen without TLS where other machines can connect: anyone on the way can read and "
        "change everything",
    )
    device: Device = Field(
        _ENGINE.device,
        description="Device that computes; auto takes an accelerator if torch finds one, else the CPU",
    )
    compute_threads: NonNegativeInt = Field(
        _ENGINE.compute_threads,
        le=MOST["compute_threads"],
        validate_default=True,
        description="Threads of the native core that share the computing, at most 32; 0 takes one for each "
        "core that the process may use, divided by workers",
    )
    state_memory_mb: Count = Field(
        _ENGINE.state_memory_mb,
        description="MiB for networks and their computed states; the least recently used are dropped first",
    )
    reply_memory_mb: NonNegativeInt = Field(
        16, le=2**20, description="MiB for a cache of small replies; 0 turns it off"
    )
    max_words: Count = Field(_LIMITS.max_words, description="Most words in a request")
    max_word_length: Count = Field(_LIMITS.max_word_length, description="Most symbols in a word")
    max_hidden_size: Count = Field(_LIMITS.max_hidden_size, description="Largest hidden size")
    max_alphabet_size: Count = Field(
        _LIMITS.max_alphabet_size, description="Most symbols in an alphabet, given or derived"
    )
    max_request_bytes: Count = Field(
        _LIMITS.max_request_bytes, description="Largest request message in bytes"
    )
    max_reply_bytes: PositiveInt = Field(
        _LIMITS.max_reply_bytes,
        le=MOST["max_reply_bytes"],
        description="Largest array in a reply message in bytes",
    )
    max_stream_bytes: PositiveInt = Field(
        16 * 2**20,
        le=2**40,
        description="Bytes of requests and replies that a stream may hold; beyond, the server stops reading",
    )
    max_inflight_mb: PositiveInt = Field(
        256,
        le=2**20,
        description="MiB of requests and replies in flight for all calls, of which one client gets half; "
        "beyond, requests are refused",
    )
    max_inflight_gmul: PositiveInt = Field(
        1_000,
        le=10**9,
        description="Billions of multiplications that may wait (a core does about 25 per second); beyond, "
        "requests are refused",
    )
    max_queue_s: float = Field(
        10.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds that a request may wait for others; if it would wait longer, or past its "
        "deadline, it is refused",
    )
    send_timeout_s: float = Field(
        60.0,
        gt=0,
        le=MAX_SECONDS,
        description="Seconds that a client may take to read a reply before its connection is closed",
    )
    max_metadata_bytes: PositiveInt = Field(
        16_384, ge=1_024, le=2**20, description="Most bytes of metadata in a call"
    )
    max_connections: Count = Field(10_000, description="Most connections at a time; further ones are closed")
    max_streams_per_connection: Count = Field(
        1_000, description="Most calls at a time on one connection; further ones wait"
    )
    max_connection_age_s: Seconds = Field(
        0,
        description="Seconds after which a client has to reconnect, so that clients spread over servers; its "
        "calls have drain_timeout_s to finish. 0 is no limit",
    )
    max_connection_idle_s: Seconds = Field(
        3_600, description="Seconds without a call after which a connection is closed; 0 is no limit"
    )
    keepalive_s: float = Field(
        60,
        ge=1,
        le=MAX_SECONDS,
        description="Seconds of silence after which the server pings a client; without an answer within 20 s "
        "it closes the connection",
    )
    # Undecoded: flags and environment give the same text to the same parser.
    vectors: Annotated[dict[str, Path], NoDecode, BeforeValidator(parse_named_files)] = Field(
        {},
        description="NAME=FILE: word vectors that requests may name, as text (GloVe, word2vec, fastText "
        ".vec), word2vec's .bin, or .npy with its words, one a line, in a .txt file beside it. For several "
        "files repeat the flag, or separate them by commas or give JSON, as in UNROLLED_VECTORS",
    )
    vectors_cache: File = Field(
        None,
        description="Directory for the converted vectors files, written at the first start with each "
        "file; by default unrolled in XDG_CACHE_HOME or ~/.cache",
    )
    metrics_address: MetricsAddress = Field(
        "",
        description="Where Prometheus scrapes metrics: HOST:PORT, at /metrics (port 0 takes a free one); "
        "empty for none",
    )
    drain_timeout_s: Seconds = Field(
        30.0, description="Seconds that accepted work has to finish after SIGTERM"
    )
    reflection: CliImplicitFlag[bool] = Field(
        True, description="Describe the service to tools that ask (gRPC reflection)"
    )
    exit_with_stdin: CliImplicitFlag[bool] = Field(
        False, description="Stop when standard input ends, as it does when the process that holds it ends"
    )
    otel: Annotated[CliImplicitFlag[bool], AfterValidator(_check_otel)] = Field(
        False,
        description="Send a span for each request by OpenTelemetry, as OTEL_* says "
        "(pip install 'unrolled[otel]')",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level of messages on standard error; debug has a line for each request"
    )
    log_format: Literal["console", "json"] = Field(
        "console", description="Form of messages: for people, or one JSON object each"
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
        """Returns the sources below flags; an empty variable counts as unset, as deployments write it.

        `env_ignore_empty` of the model would ignore empty flags, too.
        """
        return init_settings, EnvSettingsSource(settings_cls, env_ignore_empty=True)

    @field_validator("*", mode="before")
    @classmethod
    def _check_number_type(cls, given: object, info: ValidationInfo) -> object:
        """Refuses what pydantic would silently convert: True to 1, 64.0 to 64."""
        kind = cls.model_fields[info.field_name or ""].annotation
        if kind in (int, float) and isinstance(given, bool):
            raise ValueError("this is a bool; give a number")
        is_loose = isinstance(given, float) or (isinstance(given, str) and not _WHOLE_NUMBER.fullmatch(given))
        if kind is int and is_loose:
            raise ValueError("give a whole number, such as 64")
        return given

    @field_validator("workers")
    @classmethod
    def _check_workers(cls, workers: int, info: ValidationInfo) -> int:
        address = info.data.get("address", "")  # missing if it is invalid itself
        if workers > 1 and address.startswith(UNIX):
            raise ValueError(
                f"{address} is a Unix socket, which only 1 worker can have; "
                "set workers to 1 or address to HOST:PORT"
            )
        return workers

    @field_validator("compute_threads")
    @classmethod
    def _choose_compute_threads(cls, given: int, info: ValidationInfo) -> int:
        workers: int = info.data.get("workers", 1)  # missing if it is invalid itself
        return choose_threads(given, workers=workers)

    def share(self) -> "Settings":
        """Returns the settings of one worker: its share of the totals, at least 1 unless the total is 0."""
        totals = {name: getattr(self, name) for name in TOTALS}
        parts = {name: min(total, max(total // self.workers, 1)) for name, total in totals.items()}
        return self.model_copy(update=parts)

    @model_validator(mode="after")
    def _check_tls(self) -> Self:
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
    def _check_vectors_cache(self) -> Self:
        if self.vectors:
            vectors_directory(self.vectors_cache)
        return self

    @property
    def stream_bytes(self) -> int:
        """What one stream may hold; at most what one client may, so that a lone stream waits, not fails."""
        return min(self.max_stream_bytes, self.max_inflight_mb * 2**20 // 2)

    def limits(self) -> Limits:
        return Limits(**self.model_dump(include={field.name for field in fields(Limits)}))


def describe_errors(error: ValidationError) -> str:
    """Returns one line that names each wrong setting, its value and the reason."""
    return "; ".join(map(_describe_error, error.errors()))


def _describe_error(error: ErrorDetails) -> str:
    reason = str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]
    name = "_".join(map(str, error["loc"]))
    if not name:  # about several settings
        return reason
    return f"{name} is {error['input']!r}: {reason}"
