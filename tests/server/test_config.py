"""Settings come from flags, then the environment, then defaults, and are checked."""

import pytest
from pydantic import ValidationError
from pydantic_settings import CliApp
from unrolled.v1 import forward_pb2 as pb
from unrolled_server.config import Settings


def from_flags(*flags):
    return CliApp.run(Settings, cli_args=list(flags))


def test_the_defaults_are_those_of_the_contract_text():
    limits = from_flags().limits()
    assert (limits.max_words, limits.max_word_length, limits.max_hidden_size) == (65_536, 1_024, 4_096)
    assert limits.max_reply_bytes == 32 * 2**20


def test_a_flag_beats_the_environment_and_the_environment_beats_the_default(monkeypatch):
    monkeypatch.setenv("UNROLLED_MAX_WORDS", "7")
    monkeypatch.setenv("UNROLLED_MAX_WORD_LENGTH", "8")
    settings = from_flags("--max-words", "9")
    assert (settings.max_words, settings.max_word_length) == (9, 8)


@pytest.mark.parametrize(
    "flags",
    [
        ("--max-words", "0"),
        ("--max-hidden-size", "many"),
        ("--address", "nowhere"),
        ("--drain-timeout-s", "-1"),
    ],
)
def test_a_value_out_of_range_is_refused(flags):
    with pytest.raises(ValidationError):
        from_flags(*flags)


def test_every_limit_is_a_setting_and_is_told_by_server_info():
    assert set(pb.Limits.DESCRIPTOR.fields_by_name) == {
        name for name in Settings.model_fields if name.startswith("max_")
    }
    assert all(field.description for field in Settings.model_fields.values())
