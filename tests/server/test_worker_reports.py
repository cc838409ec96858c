"""What workers and their supervisor say to each other."""

import pytest
from unrolled_server.worker_reports import Failed, Proved, Serving, decode, encode


@pytest.mark.parametrize(
    "report",
    [
        Proved(fingerprint="f", ready_line="ready | and so on"),
        Serving(),
        Failed(exit_code=6, message="two\nlines, and a \x00"),
    ],
)
def test_a_report_is_one_line_and_comes_back_as_it_was(report):
    line = encode(report)
    assert line.index(b"\n") == len(line) - 1
    assert decode(line) == report
