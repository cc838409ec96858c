"""Startup of the command: one line for wrong settings, and open standard streams."""

import subprocess
import sys

import pytest
from unrolled_server.__main__ import main
from unrolled_server.exit_codes import EXIT_SETTINGS


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--address", ":7"], "address is ':7': it has no host; write '[::]:7' for every interface"),
        (["--max-words", "64.0"], "max_words is '64.0': give a whole number, such as 64"),
        (["--max-word", "3"], "unrecognized arguments: --max-word 3; --max-word: did you mean --max-words?"),
        (["--tls-client-ca", "ca.pem"], "tls_client_ca needs TLS; give tls_certificate and tls_key as well"),
        (["--metrics-address", "9464", "--max-words", "0"], "metrics_address is '9464': it has no host"),
    ],
)
def test_wrong_settings_end_with_one_line_and_exit_code_2(monkeypatch, capsys, flags, told):
    monkeypatch.setattr(sys, "argv", ["unrolled-server", *flags])
    assert main() == EXIT_SETTINGS
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("unrolled-server: ")
    assert told in line


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_no_connection_gets_the_descriptor_of_a_closed_standard_stream(tmp_path, closed):
    """Otherwise gRPC's core would write its messages for standard error to a client."""
    code = f"""
import socket
from unrolled_server.__main__ import _open_standard_streams
_open_standard_streams()
open({str(tmp_path / "number")!r}, "w").write(str(socket.socket().detach()))
"""
    command = ["/bin/sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert int((tmp_path / "number").read_text()) > 2
