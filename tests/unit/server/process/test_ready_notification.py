"""The ready line on standard output, and the notification for systemd."""

import logging
import socket

import pytest
from unrolled_server.process.ready_notification import notify_ready

READY = "unrolled-server ready on 127.0.0.1:50051"


@pytest.fixture
def notified(monkeypatch):
    """Yields the messages that systemd would receive on a socket at this address."""

    def listen(address, *, name):
        systemd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        systemd.bind(address)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        return systemd

    return listen


def test_without_systemd_only_the_line_is_printed(monkeypatch, capfd):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready(READY)
    assert capfd.readouterr().out == f"{READY}\n"


def test_a_path_of_arbitrary_bytes_is_printed_unchanged(monkeypatch, capfdbinary):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify_ready("ready on unix:/run/\udcff\u00e9")
    assert capfdbinary.readouterr().out == b"ready on unix:/run/\xff\xc3\xa9\n"


def test_systemd_receives_readiness_and_the_line(notified, tmp_path):
    with notified(f"{tmp_path}/notify", name=f"{tmp_path}/notify") as systemd:
        notify_ready(READY)
        assert systemd.recv(4096).decode() == f"READY=1\nSTATUS={READY}\n"


def test_an_abstract_name_is_written_with_an_at_sign(notified, tmp_path):
    with notified(f"\0{tmp_path}", name=f"@{tmp_path}") as systemd:
        notify_ready(READY)
        assert systemd.recv(4096).startswith(b"READY=1\n")


def test_an_unreachable_systemd_does_not_stop_the_server(monkeypatch, tmp_path, caplog, capfd):
    monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/none")
    with caplog.at_level(logging.WARNING):
        notify_ready(READY)
    assert capfd.readouterr().out == f"{READY}\n"
    assert caplog.messages == [
        f"cannot notify systemd through NOTIFY_SOCKET={tmp_path}/none: No such file or directory"
    ]
