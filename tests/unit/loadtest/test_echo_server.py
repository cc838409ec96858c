"""The echo server of a calibration ends with its block, whatever ends that."""

import pickle

import pytest
from unrolled_loadtest.echo_server import echo_server

pytestmark = pytest.mark.load


def test_an_echo_server_that_is_interrupted_before_its_address_is_read_writes_no_error(monkeypatch, capfd):
    def dump_and_interrupt(reply, file):
        file.write(pickle.dumps(reply))
        file.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr("unrolled_loadtest.echo_server.pickle.dump", dump_and_interrupt)
    with pytest.raises(KeyboardInterrupt), echo_server(b"reply"):
        pass
    assert capfd.readouterr().err == ""
