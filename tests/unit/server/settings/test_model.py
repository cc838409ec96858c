"""Settings come from flags, then the environment, then defaults, and are validated."""

import json
import pwd
import re
from dataclasses import fields
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.engine_settings import Limits
from unrolled_server.paths import vectors_directory
from unrolled_server.settings import Settings
from unrolled_server.settings.model import TOTALS, describe_errors

# What a server carries at a time: no property of a request, so no part of the contract.
LOAD_LIMITS = {"max_queue_s", "max_stream_bytes", "max_inflight_mb", "max_inflight_gmul"}
# What a connection may be: clients learn of it from HTTP/2.
CONNECTION_LIMITS = {
    "max_metadata_bytes",
    "max_connections",
    "max_streams_per_connection",
    "max_connection_age_s",
    "max_connection_idle_s",
}


def from_flags(*flags):
    return CliApp.run(Settings, cli_args=list(flags))


def test_the_defaults_match_the_contract():
    limits = from_flags().limits()
    assert (limits.max_words, limits.max_word_length, limits.max_hidden_size) == (65_536, 1_024, 4_096)
    assert limits.max_reply_bytes == 32 * 2**20


def test_a_flag_beats_the_environment_and_the_environment_beats_the_default(monkeypatch):
    monkeypatch.setenv("UNROLLED_MAX_WORDS", "7")
    monkeypatch.setenv("UNROLLED_MAX_WORD_LENGTH", "8")
    settings = from_flags("--max-words", "9")
    assert (settings.max_words, settings.max_word_length) == (9, 8)


def test_a_stream_holds_at_most_the_share_of_one_client():
    assert from_flags("--max-inflight-mb", "1").stream_bytes == 2**19
    assert from_flags("--max-stream-bytes", "5").stream_bytes == 5


def test_vectors_come_from_flags_or_the_environment(monkeypatch, tmp_path):
    files = {name: tmp_path / f"{name}.txt" for name in ("glove", "w2v")}
    for file in files.values():
        file.touch()
    glove, w2v = (f"{name}={file}" for name, file in files.items())
    assert from_flags("--vectors", glove, "--vectors", w2v).vectors == files
    assert from_flags("--vectors", f"{glove},{w2v}").vectors == files
    monkeypatch.setenv("UNROLLED_VECTORS", f"{glove},{w2v}")
    assert from_flags().vectors == files
    assert from_flags("--vectors", glove).vectors == {"glove": files["glove"]}
    monkeypatch.setenv("UNROLLED_VECTORS", json.dumps({name: str(file) for name, file in files.items()}))
    assert from_flags().vectors == files
    monkeypatch.setenv("UNROLLED_VECTORS", "")
    assert from_flags().vectors == {}


@pytest.mark.parametrize(
    "flags",
    [
        ("--max-words", "0"),
        ("--max-hidden-size", "many"),
        ("--address", "nowhere"),
        ("--drain-timeout-s", "-1"),
        ("--vectors", "glove"),
        ("--max-queue-s", "inf"),
        ("--send-timeout-s", "nan"),
    ],
)
def test_a_value_out_of_range_is_refused(flags):
    with pytest.raises(ValidationError):
        from_flags(*flags)


def test_every_limit_is_a_setting_and_part_of_server_info():
    contract_limits = set(pb.Limits.DESCRIPTOR.fields_by_name)
    assert contract_limits == {field.name for field in fields(Limits)}
    limits = {name for name in Settings.model_fields if name.startswith("max_")}
    assert limits == contract_limits | LOAD_LIMITS | CONNECTION_LIMITS
    assert all(field.description for field in Settings.model_fields.values())


def test_a_worker_gets_its_share_of_the_totals_and_all_other_settings():
    whole = Settings(
        workers=4, state_memory_mb=1_024, reply_memory_mb=0, max_inflight_mb=3, max_inflight_gmul=1_001
    )
    part = whole.share()
    assert (part.state_memory_mb, part.max_inflight_gmul) == (256, 250)
    assert (part.reply_memory_mb, part.max_inflight_mb) == (0, 1)  # 0 stays 0, and a share is at least 1
    assert part.model_dump(exclude=set(TOTALS)) == whole.model_dump(exclude=set(TOTALS))


def test_one_worker_gets_all():
    assert Settings().share() == Settings()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--tls-certificate", "c.pem"), "tls_certificate and tls_key go together; give both or neither"),
        (("--tls-client-ca", "ca.pem"), "tls_client_ca needs TLS"),
        (
            ("--address", "unix:/tmp/s", "--tls-certificate", "c.pem", "--tls-key", "k.pem"),
            "address is unix:/tmp/s, which only this machine reaches",
        ),
    ],
)
def test_tls_settings_go_together(flags, reason):
    with pytest.raises(ValidationError, match=reason):
        from_flags(*flags)


def test_an_empty_variable_leaves_the_default(monkeypatch):
    """Deployment templates set a variable to the empty string to leave it unset."""
    for name in Settings.model_fields:
        monkeypatch.setenv(f"UNROLLED_{name.upper()}", "")
    assert from_flags() == Settings.model_validate({})
    assert from_flags().tokens is None


@pytest.mark.parametrize("name", ["tokens", "tls_certificate", "vectors_cache"])
def test_an_empty_flag_that_names_a_file_is_refused(name):
    """Otherwise --tokens "$TOKENS" with an unset variable would start a server without tokens."""
    with pytest.raises(ValidationError, match="it is empty; give a path, or leave it out"):
        from_flags(f"--{name.replace('_', '-')}", "")


@pytest.mark.parametrize("name", ["tokens", "tls_certificate", "vectors_cache"])
def test_a_url_that_should_name_a_file_is_refused(name, monkeypatch):
    """As a path, s3://bucket is a folder s3: in the working directory."""
    monkeypatch.setenv(f"UNROLLED_{name.upper()}", "s3://bucket/file")
    with pytest.raises(ValidationError) as caught:
        from_flags()
    assert describe_errors(caught.value) == f"{name} is 's3://bucket/file': this is a URL; give a path"


@pytest.mark.parametrize("given", ["64.0", "1e3", "1_000", "0x10", "many", 64.0, True, None])
def test_a_value_that_is_not_a_whole_number_is_refused(given):
    with pytest.raises(ValidationError) as caught:
        Settings(max_words=given)
    assert describe_errors(caught.value).startswith(f"max_words is {given!r}: ")


def test_a_bool_is_refused_as_a_number_of_seconds():
    with pytest.raises(ValidationError, match="this is a bool; give a number"):
        Settings(max_queue_s=True)


@pytest.mark.parametrize(("given", "taken"), [("64", 64), (" 64 ", 64), ("+64", 64), (64, 64)])
def test_whole_numbers_are_accepted_as_text(given, taken):
    assert Settings(max_words=given).max_words == taken


@pytest.mark.parametrize("value", ["2", "maybe", "0.5"])
def test_a_value_that_is_not_a_bool_is_refused(monkeypatch, value):
    monkeypatch.setenv("UNROLLED_REFLECTION", value)
    with pytest.raises(ValidationError, match="valid boolean"):
        from_flags()


@pytest.mark.parametrize(
    ("setting", "value", "right"),
    [
        ("address", ":50051", "'[::]:50051' for every interface"),
        ("metrics_address", ":9464", "'[::]:9464' for every interface"),
        ("metrics_address", "localhost", "'localhost:9464'"),
        ("metrics_address", "unix:/run/s", "this is not HOST:PORT; write one, such as '127.0.0.1:9464'"),
    ],
)
def test_both_addresses_follow_the_same_rule(monkeypatch, setting, value, right):
    with pytest.raises(ValidationError) as caught:
        from_flags(f"--{setting.replace('_', '-')}", value)
    assert describe_errors(caught.value).startswith(f"{setting} is {value!r}: ")
    assert right in describe_errors(caught.value)
    monkeypatch.setenv(f"UNROLLED_{setting.upper()}", value)
    with pytest.raises(ValidationError):
        from_flags()


@pytest.fixture
def _without_home(monkeypatch):
    """A user as OpenShift creates them: a number without an entry in /etc/passwd, and no HOME."""

    def no_entry(_uid):
        raise KeyError

    for name in ("HOME", "XDG_CACHE_HOME", "UNROLLED_VECTORS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)


@pytest.mark.usefixtures("_without_home")
def test_without_a_home_only_word_vectors_need_a_cache_setting(tmp_path):
    assert Settings().vectors == {}
    vectors = tmp_path / "glove.txt"
    vectors.touch()
    with pytest.raises(ValidationError, match="set XDG_CACHE_HOME or HOME, or give vectors_cache"):
        Settings(vectors={"glove": vectors})
    settings = Settings(vectors={"glove": vectors}, vectors_cache=tmp_path)
    assert vectors_directory(settings.vectors_cache) == tmp_path


@pytest.mark.usefixtures("_without_home")
@pytest.mark.parametrize("name", ["tokens", "tls_certificate", "tls_key", "tls_client_ca", "vectors_cache"])
def test_without_a_home_a_path_in_it_is_refused(name):
    with pytest.raises(ValidationError, match="begins with a home directory that is not known"):
        Settings(**{name: "~/file"})


def test_settings_hold_no_secret(write_tokens, server_identity):
    """Settings may be logged: they contain names of files, not their contents."""
    file = write_tokens(ops="s3cret-" + "x" * 25)
    shown = repr(Settings(tokens=file, **server_identity.settings))
    assert str(file) in shown
    assert "s3cret" not in shown
    assert "PRIVATE KEY" not in shown


def test_the_threat_model_names_existing_settings():
    text = (Path(__file__).parents[4] / "THREAT_MODEL.md").read_text()
    named = {name.replace("-", "_") for name in re.findall(r"--([a-z][a-z-]+)", text)}
    assert "tls_client_ca" in named
    assert named - set(Settings.model_fields) == {"help", "no_reflection", "token_file"}


def test_the_interval_of_otlp_metrics_is_refused_with_its_replacement(monkeypatch):
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "60000")
    with pytest.raises(ValidationError, match="have the collector scrape metrics_address"):
        from_flags("--otel")
    assert not from_flags().otel


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 1, 8), (8, 3, 2), (2, 4, 1), (64, 1, 32)])
def test_compute_threads_are_the_cores_of_each_worker(monkeypatch, cores, workers, threads):
    monkeypatch.setattr("unrolled_server.engine_settings.usable_cores", lambda: cores)
    assert Settings(workers=workers).compute_threads == threads
    assert Settings(workers=workers).share().compute_threads == threads
    assert Settings(workers=workers, compute_threads=5).compute_threads == 5
