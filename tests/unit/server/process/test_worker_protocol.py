"""Messages between workers and their supervisor."""

import pytest
from unrolled_server.process.worker_protocol import (
    Failed,
    Serving,
    Verified,
    decode,
    decode_settings,
    encode,
    encode_settings,
)
from unrolled_server.settings import Settings


@pytest.mark.parametrize(
    "report",
    [
        Verified(fingerprint="f", ready_line="ready | and so on"),
        Serving(),
        Failed(exit_code=6, message="two\nlines, and a \x00"),
    ],
)
def test_a_report_is_one_line_and_round_trips(report):
    line = encode(report)
    assert line.index(b"\n") == len(line) - 1
    assert decode(line) == report


def test_settings_reach_a_worker_unchanged(tmp_path, monkeypatch):
    vectors, no_utf_8 = tmp_path / "a,b.txt", tmp_path / "\udcff"
    vectors.touch()
    sent = Settings(
        address="127.0.0.1:1",
        workers=2,
        vectors={"v": vectors},
        vectors_cache=no_utf_8,
        max_connection_age_s=0.5,
        exit_with_stdin=True,
    )
    # A worker's environment is its supervisor's, whose flags came before it.
    monkeypatch.setenv("UNROLLED_WORKERS", "7")
    monkeypatch.setenv("UNROLLED_VECTORS", f"other={vectors}")
    monkeypatch.setenv("UNROLLED_TOKENS", "tokens")
    line = encode_settings(sent)
    assert line.index(b"\n") == len(line) - 1
    assert decode_settings(line) == sent
