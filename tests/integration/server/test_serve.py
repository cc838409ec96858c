"""The server as a process: ready line, exit codes and shutdown."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from itertools import chain
from urllib.parse import quote

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.embedded import running_server
from unrolled_server.engine import Engine
from unrolled_server.exit_codes import AddressError
from unrolled_server.settings import Settings
from unrolled_server.word_vectors import open_vectors

from tests.support.processes import (
    TIMEOUT_S,
    address_in,
    exit_of,
    metrics_address_in,
    process,
    unread_replies,
)
from tests.support.scrapes import scraped_until, value

SERVING = ("--address", "127.0.0.1:0")
# SIGINT takes the same way as SIGTERM, in another second of start.
SIGNALS = [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]


def until_accepted(metrics_address, word_count):
    """Returns once the server has accepted this number of words."""
    scraped_until(metrics_address, lambda samples: value(samples, "unrolled_words_total") == word_count)


OPEN = "TLS off, client certificates off, tokens off"


def log_line_without_time(server):
    """Returns the next message of the server's log, or an empty string at its end."""
    line = server.stderr.readline()
    assert line
    return line.partition("] ")[2].partition(" [unrolled_server")[0]


def without_nohup():
    """Restores the default handler of SIGHUP, because the test run may ignore it."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_the_ready_line_describes_the_server_and_the_log_its_protection():
    environment = {**os.environ, "UNROLLED_TOKEN": "5ecret-5ecret-5ecret"}
    with process("--address", "127.0.0.1:0", "--device", "cpu", env=environment) as server:
        line = server.stdout.readline()
        told = list(iter(partial(log_line_without_time, server), f"serving on {address_in(line)}: {OPEN}"))
        assert told[0].startswith("UNROLLED_TOKEN is not a setting of the server")
        assert "5ecret" not in "".join(told)
        assert line.startswith("unrolled-server ready on 127.0.0.1:")
        assert not address_in(line).endswith(":0")
        assert "| device cpu (" in line
        assert ") | up to 65,536 words of 1,024 symbols, hidden size 4,096" in line
        assert "fingerprint" in line


@pytest.mark.parametrize("number", [*SIGNALS, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_signal_finishes_what_was_accepted_and_exits_0(number):
    with process(*SERVING, "--metrics-address", "127.0.0.1:0", preexec_fn=without_nohup) as server:
        address = address_in(server.stdout.readline())
        with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
            request = pb.ForwardRequest(words=["ab" * 200] * 16, hidden_size=1024)
            stub = ForwardServiceStub(channel)
            call = stub.Forward.future(request)
            until_accepted(metrics_address_in(server), 16)
            server.send_signal(number)
            assert call.result(TIMEOUT_S).shape == [16, 400, 1024]
        assert server.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("number", SIGNALS)
def test_a_second_signal_ends_the_server_at_once_and_is_logged(number):
    with process("--address", "127.0.0.1:0") as server:
        with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
            replies = unread_replies(ForwardServiceStub(channel))
            server.send_signal(number)
            assert any("draining" in line for line in iter(server.stderr.readline, ""))
            server.send_signal(number)
            with pytest.raises(grpc.RpcError):
                list(replies)
        _, errors = server.communicate(timeout=TIMEOUT_S)
        assert (server.returncode, errors) == (128 + number, "")


def test_health_answers_while_the_compute_thread_is_busy(monkeypatch):
    entered, may_end, run = threading.Event(), threading.Event(), Engine.run

    def held_up(engine, jobs, **options):
        entered.set()
        assert may_end.wait(TIMEOUT_S)
        return run(engine, jobs, **options)

    monkeypatch.setattr(Engine, "run", held_up)
    with (
        running_server(Settings(address="127.0.0.1:0")) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = ForwardServiceStub(channel).Forward.future(pb.ForwardRequest(words=["busy"], hidden_size=1024))
        assert entered.wait(TIMEOUT_S)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        assert not call.done()
        may_end.set()
        assert call.result(TIMEOUT_S).shape == [1, 4, 1024]


def test_a_signal_finishes_accepted_requests_of_streams_and_ends_idle_ones():
    with process(*SERVING, "--metrics-address", "127.0.0.1:0") as server:
        address = address_in(server.stdout.readline())
        with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
            stub = ForwardServiceStub(channel)
            never = threading.Event()
            # Networks of their own, so that each is computed and none answered from a kept reply. The replies
            # are small, because a stream that holds --max-stream-bytes of unread ones accepts no request.
            common = {"words": ["ab" * 50] * 16, "hidden_size": 512, "output": pb.OUTPUT_LAST}
            requests = [pb.ForwardRequest(**common, seed=at, id=str(at)) for at in range(9)]
            ends = stub.ForwardStream(iter(requests[:8]))
            waits = stub.ForwardStream(chain(requests[8:], (never.wait() for _ in range(1))))
            assert next(waits).id == "8"
            first = next(ends).id
            until_accepted(metrics_address_in(server), 9 * 16)
            server.send_signal(signal.SIGTERM)
            assert sorted([first, *(reply.id for reply in ends)]) == [str(at) for at in range(8)]
            with pytest.raises(grpc.RpcError) as caught:
                next(waits)
            never.set()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert server.wait(TIMEOUT_S) == 0


@pytest.mark.long
def test_the_end_of_standard_input_ends_the_server_if_set():
    with process("--address", "127.0.0.1:0", "--exit-with-stdin") as server:
        server.stdout.readline()
        server.stdin.close()
        assert server.wait(TIMEOUT_S) == 0


def test_a_wrong_setting_exits_2_and_names_it():
    code, errors = exit_of("--max-words", "0")
    assert (code, errors) == (2, "unrolled-server: max_words is '0': Input should be greater than 0\n")


@pytest.mark.own_server
def test_a_taken_port_exits_3_with_the_reason(server_address):
    code, errors = exit_of("--address", server_address)
    assert code == 3
    assert f"cannot listen on {server_address}: Address already in use; choose another --address" in errors


@pytest.mark.long
def test_an_instruction_set_that_this_cpu_lacks_exits_2_with_those_that_it_has(monkeypatch):
    monkeypatch.setenv("UNROLLED_ISA", "mmx")
    code, errors = exit_of("--address", "127.0.0.1:0", "--device", "cpu")
    assert code == 2
    assert "UNROLLED_ISA is 'mmx'; this CPU has" in errors


@pytest.mark.long
def test_a_missing_device_exits_4():
    missing = "mps" if sys.platform == "linux" else "cuda"
    code, errors = exit_of("--address", "127.0.0.1:0", "--device", missing)
    assert code == 4
    assert f"device is '{missing}'" in errors


@pytest.mark.long
def test_an_address_that_others_reach_exits_3_without_tls():
    code, errors = exit_of("--address", "0.0.0.0:0")
    assert code == 3
    assert errors.startswith("unrolled-server: refusing to listen on 0.0.0.0:0 in clear text")


@pytest.mark.long
def test_credentials_that_cannot_be_used_exit_7_with_file_and_reason(write_tokens):
    file = write_tokens(ops="short")
    code, errors = exit_of("--address", "127.0.0.1:0", "--tokens", str(file))
    assert code == 7
    assert errors.startswith(f"unrolled-server: tokens {file}, line 1: the token has 5 characters")


def test_inconsistent_tls_settings_exit_2(authority):
    code, errors = exit_of("--tls-client-ca", str(authority.file))
    reason = "tls_client_ca needs TLS; give tls_certificate and tls_key as well"
    assert (code, errors) == (2, f"unrolled-server: {reason}\n")


@pytest.mark.long
def test_word_vectors_are_opened_before_the_server_is_ready(tmp_path):
    glove, cache = tmp_path / "glove.txt", tmp_path / "cache"
    glove.write_text("the 1 2 3\nof 4 5 6\n")
    flags = ("--address", "127.0.0.1:0", "--vectors", f"glove={glove}", "--vectors-cache", str(cache))
    told = []
    for _ in ("first start", "converted before"):
        with (
            process(*flags) as server,
            grpc.insecure_channel(address_in(server.stdout.readline())) as channel,
        ):
            told += ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest()).vectors
    assert [(table.name, table.word_count, table.size) for table in told] == [("glove", 2, 3)] * 2
    assert told[0] == told[1]
    assert len(told[0].digest) == 16


@pytest.mark.long
def test_malformed_word_vectors_exit_6_with_file_line_and_reason(tmp_path):
    bad = tmp_path / "bad.txt"
    bad.write_text("the 1 2 3\nof 4 5\n")
    code, errors = exit_of(
        "--address",
        "127.0.0.1:0",
        "--vectors",
        f"bad={bad}",
        "--vectors-cache",
        str(tmp_path),
        "--log-level",
        "error",
    )
    reason = f"{bad}, line 2: has 2 values after its word; each vector of this file has 3"
    assert (code, errors) == (6, f"unrolled-server: {reason}\n")


def test_a_missing_vectors_file_is_a_wrong_setting(tmp_path):
    code, errors = exit_of("--vectors", f"glove={tmp_path}/none")
    reason = f"vectors is 'glove={tmp_path}/none': {tmp_path}/none cannot be read: No such file or directory"
    assert (code, errors) == (2, f"unrolled-server: {reason}\n")


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "end"),
    [(signal.SIGINT, (130, "unrolled-server: interrupted\n")), (signal.SIGTERM, (143, ""))],
)
def test_a_signal_ends_a_waiting_startup_and_is_logged(tmp_path, number, end):
    glove, cache = tmp_path / "glove.txt", tmp_path / "cache"
    glove.write_text("the 1 2 3\n")
    open_vectors("glove", glove, cache_directory=cache)
    glove.write_text("the 1 2 3\nof 4 5 6\n")  # so there is a lock, and need to convert
    flags = ("--address", "127.0.0.1:0", "--vectors", f"glove={glove}", "--vectors-cache", str(cache))
    with next(cache.glob("*.lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with process(*flags) as server:
            assert "waiting for another process" in server.stderr.readline()
            server.send_signal(number)
            _, errors = server.communicate(timeout=TIMEOUT_S)
    assert (server.returncode, errors) == end


def test_a_unix_socket_in_use_is_refused_and_a_stale_one_is_replaced(tmp_path):
    address = f"unix:{tmp_path}/s"
    with running_server(Settings(address=address)), pytest.raises(AddressError, match="another server holds"):
        running_server(Settings(address=address)).__enter__()
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(f"{tmp_path}/s")
    with (
        running_server(Settings(address=address)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        assert ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest()).device


def refusal_of(address):
    with pytest.raises(AddressError) as caught:
        running_server(Settings(address=address)).__enter__()
    return str(caught.value).removeprefix(f"cannot listen on {address}: ")


def test_a_unix_socket_has_the_given_path_whatever_its_characters(tmp_path):
    """The path is part of a URI for gRPC. A linked folder leads to the same socket and the same lock."""
    folder, link, name = tmp_path / "folder", tmp_path / "link", "a%20b ?#\u00e9"
    folder.mkdir()
    link.symlink_to(folder)
    lock = folder / f"{name}.lock"
    lock.write_text("kept")
    with running_server(Settings(address=f"unix:{folder}/{name}")) as server:
        assert server.address == f"unix:{folder}/{name}"
        assert {path.name for path in folder.iterdir()} == {name, lock.name}
        assert "another server holds it" in refusal_of(f"unix:{link}/{name}")
        with grpc.insecure_channel(f"unix:{quote(f'{link}/{name}')}") as channel:
            assert ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest()).device
    assert lock.read_text() == "kept"


def test_an_existing_file_at_the_path_of_a_unix_socket_is_not_changed(tmp_path):
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("kept")
    link.symlink_to(file)
    assert refusal_of(f"unix:{file}") == "Address already in use; choose another --address"
    assert refusal_of(f"unix:{link}").startswith("it is a symbolic link")
    assert refusal_of(f"unix:{tmp_path}/none/s").startswith(f"{tmp_path}/none/s.lock: No such file")
    assert file.read_text() == "kept"


def test_a_wildcard_address_is_reachable():
    with (
        running_server(Settings(address="[::]:0", allow_plaintext=True)) as server,
        grpc.insecure_channel(f"localhost:{server.address.rpartition(':')[2]}") as channel,
    ):
        assert ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest()).device


def test_reflection_can_be_disabled():
    with (
        running_server(Settings(address="127.0.0.1:0", reflection=False)) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        with pytest.raises(grpc.RpcError) as caught:
            list(call(iter([b""])))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_help_shows_every_setting_and_does_not_load_torch():
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-X", "importtime", "-m", "unrolled_server", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown.stdout
    assert "| torch" not in shown.stderr
