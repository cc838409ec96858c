"""Several workers on one port, as real processes."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from contextlib import ExitStack

import grpc
import psutil
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub
from unrolled_server.exit_codes import EXIT_SETTINGS
from unrolled_server.process.worker_protocol import decode
from unrolled_server.word_vectors import open_vectors

from tests.integration.server.test_serve import OPEN, without_nohup
from tests.support.processes import TIMEOUT_S, address_in, exit_of, process, unread_replies

FLAGS = ("--address", "127.0.0.1:0", "--device", "cpu", "--workers", "2")
CONNECTIONS = 24  # that one worker gets all of them happens once in eight million runs


def workers_of(server):
    return psutil.Process(server.pid).children()


def answers(address):
    """Returns the answers to one request over many connections, and how many each process accepted."""
    request = pb.ForwardRequest(words=["hello", "eolll", "lleel"], hidden_size=2)
    with ExitStack() as stack:
        options = [("grpc.use_local_subchannel_pool", 1)]
        opened = (grpc.insecure_channel(address, options=options) for _ in range(CONNECTIONS))
        replies = [ForwardServiceStub(stack.enter_context(channel)).Forward(request) for channel in opened]
        return [tuple(reply.values) for reply in replies], taken_connections(address)


def taken_connections(address):
    port = int(address.rpartition(":")[2])
    taken = Counter()
    for connection in psutil.net_connections("tcp"):
        if connection.laddr.port == port and connection.status == psutil.CONN_ESTABLISHED:
            taken[connection.pid] += 1
    return taken


def end_of(processes):
    """Waits for processes to end and returns those that do not."""
    return psutil.wait_procs(processes, timeout=TIMEOUT_S)[1]


def test_all_workers_answer_with_the_same_bits_after_one_ready_line_and_end_at_sighup():
    environment = {**os.environ, "UNROLLED_MAX_WORD": "9"}
    with process(*FLAGS, env=environment, preexec_fn=without_nohup) as server:
        line = server.stdout.readline()
        assert line.startswith("unrolled-server ready on 127.0.0.1:")
        assert line.endswith(" | 2 workers\n")
        values, taken = answers(address_in(line))
        assert len(set(values)) == 1
        assert set(taken) == {worker.pid for worker in workers_of(server)}
        server.send_signal(signal.SIGHUP)
        rest, errors = server.communicate(timeout=TIMEOUT_S)
        assert (server.returncode, rest) == (0, "")
    assert errors.count("UNROLLED_MAX_WORD is not a setting of the server") == 1
    assert errors.count(f"serving on {address_in(line)}: {OPEN}") == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_worker_that_ends_is_replaced(number):
    with process(*FLAGS) as server:
        address = address_in(server.stdout.readline())
        before = workers_of(server)
        before[0].send_signal(number)
        told = iter(server.stderr.readline, "")
        assert any(f"worker {before[0].pid} " in line and "ended" in line for line in told)
        assert any("serves" in line for line in told)
        after = workers_of(server)
        assert before[1] in after
        assert before[0] not in after
        _, taken = answers(address)
        assert set(taken) == {worker.pid for worker in after}


def scraped_until(url, wanted):
    """Returns the metrics as soon as they contain the given lines; workers write theirs each second."""
    never = threading.Event()
    while True:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            lines = answer.read().decode().splitlines()
        if wanted <= set(lines):
            return lines
        never.wait(0.1)


@pytest.mark.long
def test_one_endpoint_exports_the_metrics_of_all_workers_also_of_dead_ones():
    with process(*FLAGS, "--metrics-address", "127.0.0.1:0") as server:
        url = next(line for line in server.stderr if "metrics on" in line).split("metrics on ")[1].split()[0]
        answers(address_in(server.stdout.readline()))
        asked = f'unrolled_requests_total{{code="OK",method="Forward"}} {CONNECTIONS}.0'
        before = {
            asked,
            "unrolled_workers 2.0",
            "unrolled_ready_workers 2.0",
            "unrolled_worker_restarts_total 0.0",
        }
        scraped_until(url, before)
        workers_of(server)[0].kill()
        scraped_until(url, {asked, "unrolled_ready_workers 2.0", "unrolled_worker_restarts_total 1.0"})


@pytest.mark.long
def test_workers_end_when_the_supervisor_is_killed():
    with process(*FLAGS) as server:
        server.stdout.readline()
        workers = workers_of(server)
        server.kill()
        assert end_of(workers) == []


@pytest.mark.long
def test_the_end_of_standard_input_ends_all_processes_if_set():
    with process(*FLAGS, "--exit-with-stdin") as server:
        server.stdout.readline()
        workers = workers_of(server)
        server.stdin.close()
        assert server.wait(TIMEOUT_S) == 0
        assert end_of(workers) == []


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_all_processes_at_once(number, code):
    with process(*FLAGS) as server:
        with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
            workers = workers_of(server)
            replies = unread_replies(ForwardServiceStub(channel))
            server.send_signal(number)
            assert any(
                "draining" in line and "supervisor" in line for line in iter(server.stderr.readline, "")
            )
            server.send_signal(number)
            with pytest.raises(grpc.RpcError):
                list(replies)
        assert server.wait(TIMEOUT_S) == code
        assert end_of(workers) == []


@pytest.mark.long
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_waiting_startup_and_is_logged(tmp_path, number, code):
    glove, cache = tmp_path / "glove.txt", tmp_path / "cache"
    glove.write_text("the 1 2 3\n")
    open_vectors("glove", glove, cache_directory=cache)
    glove.write_text("the 1 2 3\nof 4 5 6\n")  # so there is a lock, and need to convert
    flags = (*FLAGS, "--vectors", f"glove={glove}", "--vectors-cache", str(cache))
    with next(cache.glob("*.lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with process(*flags) as server:
            assert any("waiting for another process" in line for line in iter(server.stderr.readline, ""))
            workers = workers_of(server)
            server.send_signal(number)
            out, errors = server.communicate(timeout=TIMEOUT_S)
            assert end_of(workers) == []
    assert (server.returncode, out) == (code, "")
    assert errors.endswith("unrolled-server: interrupted\n")


@pytest.mark.long
def test_workers_that_keep_dying_exit_8(tmp_path, monkeypatch):
    """The fake core also shows that the supervisor does not import it: it would die with its workers."""
    (tmp_path / "unrolled_core.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    code, errors = exit_of(*FLAGS)
    assert code == 8
    assert errors.count("was ended by SIGKILL") >= 5
    assert errors.endswith(
        "unrolled-server: 5 workers died one after another before they served; the log above says how\n"
    )


@pytest.mark.long
def test_a_startup_error_is_logged_once_with_its_exit_code():
    code, errors = exit_of(*FLAGS[:2], "--device", "mps", "--workers", "2", "--log-level", "error")
    assert code == 4
    assert errors.startswith("unrolled-server: device is 'mps'")
    assert errors.count("\n") == 1


def test_a_worker_whose_settings_became_wrong_reports_which(tmp_path):
    settings = json.dumps({"vectors": {"gone": str(tmp_path / "gone.txt")}}) + "\n"
    command = [sys.executable, "-P", "-m", "unrolled_server.process.worker"]
    ended = subprocess.run(
        command, check=False, input=settings, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    assert ended.returncode == EXIT_SETTINGS
    assert not ended.stderr
    report = decode(ended.stdout.encode())
    assert report.exit_code == EXIT_SETTINGS
    assert f"{tmp_path}/gone.txt cannot be read: No such file or directory" in report.message


@pytest.mark.long
def test_workers_serve_over_tls_and_log_nothing_about_plaintext_clients(server_identity, authority):
    tls = ("--tls-certificate", server_identity.certificate, "--tls-key", server_identity.key)
    with process(*FLAGS, *map(str, tls)) as server:
        address = address_in(server.stdout.readline())
        credentials = grpc.ssl_channel_credentials(authority.file.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            assert ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest()).device == "cpu"
        with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError):
            ForwardServiceStub(channel).GetServerInfo(pb.GetServerInfoRequest())
        server.terminate()
        assert "ssl" not in server.stderr.read()


@pytest.mark.long
def test_a_missing_key_exits_7(server_identity, tmp_path):
    tls = ("--tls-certificate", server_identity.certificate, "--tls-key", tmp_path / "none")
    code, errors = exit_of(*FLAGS, *map(str, tls), "--log-level", "error")
    assert code == 7
    assert errors == f"unrolled-server: tls_key {tmp_path}/none cannot be read: No such file or directory\n"


@pytest.mark.parametrize("shares", [True, False])
def test_a_taken_port_exits_3(shares):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(shares))
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, errors = exit_of("--address", address, "--workers", "2")
    reason = "Address already in use; choose another --address"
    assert (code, errors) == (3, f"unrolled-server: cannot listen on {address}: {reason}\n")


def test_a_unix_socket_for_several_workers_is_a_wrong_setting():
    code, errors = exit_of("--address", "unix:/tmp/s", "--workers", "2")
    reason = "unix:/tmp/s is a Unix socket, which only 1 worker can have"
    remedy = "set workers to 1 or address to HOST:PORT"
    assert (code, errors) == (2, f"unrolled-server: workers is '2': {reason}; {remedy}\n")
