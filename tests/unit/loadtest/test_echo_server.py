"""The echo server ends with its context manager, also after an exception."""

import pickle

import pytest
from unrolled_loadtest.echo_server import echo_server

pytestmark = pytest.mark.load


def test_an_interrupt_before_the_address_is_read_writes_no_error(monkeypatch, capfd):
    def dump_and_interrupt(reply, file):
        file.write(pickle.dumps(reply))
        file.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr("unrolled_loadtest.echo_server.pickle.dump", dump_and_interrupt)
    with pytest.raises(KeyboardInterrupt), echo_server(b"reply"):
        pass
    assert capfd.readouterr().err == ""
