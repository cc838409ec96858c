"""All log records have one format, and none contains secrets or words of requests."""

import json
import os
import subprocess
import sys

import grpc
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.forward_pb2_grpc import ForwardServiceStub

from tests.integration.server.test_serve import address_in, exit_of, process

TIMEOUT_S = 120
ALL_KINDS = """
import logging, sys, threading, warnings
from unrolled_server.observability import logging_setup
logging_setup.configure(level="info", log_format=sys.argv[1])
LOG = logging.getLogger("unrolled_server.some")
LOG.info("converting %s: %d %%", "a.txt", 50)
LOG.debug("too fine")
logging.getLogger("grpc").error("from gRPC")
logging.getLogger("asyncio").warning("with more", extra={"words": 3, "id": 'a"\\nb', "odd": object})
warnings.warn("from a warning")
def fail(secret):
    raise ValueError("on purpose")
try:
    fail("s3cret-value")
except ValueError:
    LOG.exception("a job failed")
thread = threading.Thread(target=fail, args=("s3cret-value",), name="compute-0")
thread.start()
thread.join()
logging_setup.fatal("cannot listen")
fail("s3cret-value")
"""


def written(log_format):
    command = [sys.executable, "-c", ALL_KINDS, log_format]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "s3cret" not in run.stderr
    return run.stderr


def test_json_has_one_object_per_record_including_tracebacks():
    records = [json.loads(line) for line in written("json").splitlines()]
    told = [(record["level"], record["logger"], record["message"]) for record in records]
    assert told[:3] == [
        ("info", "unrolled_server.some", "converting a.txt: 50 %"),
        ("error", "grpc", "from gRPC"),
        ("warning", "asyncio", "with more"),
    ]
    assert told[3][:2] == ("warning", "py.warnings")
    assert told[4] == ("error", "unrolled_server.some", "a job failed")
    assert told[5:] == [
        ("critical", "unrolled_server", "uncaught error in thread compute-0"),
        ("critical", "unrolled_server", "cannot listen"),
        ("critical", "unrolled_server", "uncaught error"),
    ]
    assert (records[2]["words"], records[2]["id"]) == (3, 'a"\nb')
    failures = [record["exception"] for record in records if "exception" in record]
    assert len(failures) == 3
    assert all(text.endswith("ValueError: on purpose") for text in failures)
    assert all(record["timestamp"].endswith("Z") for record in records)


def test_the_console_shows_the_unchanged_message_and_its_fields():
    lines = written("console").splitlines()
    assert "[info     ] converting a.txt: 50 % [unrolled_server.some]" in lines[0]
    assert "from gRPC [grpc]" in lines[1]
    assert "with more [asyncio] words=3 id='a\"\\nb'" in lines[2]
    assert "unrolled-server: cannot listen" in lines
    assert lines[-1] == "ValueError: on purpose"


@pytest.fixture(scope="module")
def debug_records():
    """The log records of a server after four requests."""
    flags = ("--address", "127.0.0.1:0", "--log-level", "debug", "--log-format", "json")
    with process(*flags) as server:
        with grpc.insecure_channel(address_in(server.stdout.readline())) as channel:
            stub = ForwardServiceStub(channel)
            network = pb.Network(cell=pb.CELL_GRU)
            words = ["s3cret", "words"]
            stub.Forward(pb.ForwardRequest(words=words, hidden_size=4, network=network, id="mine"))
            with pytest.raises(grpc.RpcError):
                stub.Forward(pb.ForwardRequest(words=words, alphabet="s3cret", hidden_size=4))
            with pytest.raises(grpc.RpcError):
                channel.unary_unary("/unrolled.v1.ForwardService/Forward")(b"\x0a\x01\xff")
            first = pb.ForwardRequest(words=words, hidden_size=2, id="1")
            again = pb.ForwardRequest(same_words=True, hidden_size=3, id="2")
            assert len(list(stub.ForwardStream(iter([first, again])))) == 2
        server.terminate()
        _, errors = server.communicate(timeout=TIMEOUT_S)
    assert "s3cret" not in errors
    records = [json.loads(line) for line in errors.splitlines()]
    return [record for record in records if record["message"] == "request"]


def test_each_request_has_a_line_at_debug_level(debug_records):
    told = [
        tuple(record[name] for name in ("method", "code", "words", "hidden_size", "id"))
        for record in debug_records
    ]
    assert told == [
        ("Forward", "OK", 2, 4, "mine"),
        ("Forward", "INVALID_ARGUMENT", 2, 4, ""),
        ("Forward", "INVALID_ARGUMENT", 0, 0, ""),
        ("ForwardStream", "OK", 2, 2, "1"),
        ("ForwardStream", "OK", 2, 3, "2"),
    ]


def test_the_line_of_a_request_has_its_client_and_times(debug_records):
    first = debug_records[0]
    assert first["caller"].startswith("ipv4:127.0.0.1:")
    assert first["seconds"] >= first["compute_s"] > 0
    assert first["seconds"] >= first["queue_s"] >= 0


@pytest.mark.long
@pytest.mark.own_server
def test_a_startup_error_is_a_json_record_if_json_is_set(server_address):
    code, errors = exit_of("--address", server_address, "--log-format", "json")
    last = json.loads(errors.splitlines()[-1])
    assert code == 3
    assert last["level"] == "critical"
    assert last["message"].startswith(f"cannot listen on {server_address}")


@pytest.mark.parametrize("log_format", ["console", "json"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_letters_that_standard_error_cannot_encode_are_escaped(log_format, encoding):
    code = f"""
from unrolled_server.observability import logging_setup
logging_setup.configure(level="info", log_format={log_format!r})
logging_setup.LOG.warning("file %s", "\\u65e5\\udcff.txt")
logging_setup.fatal("\\u65e5\\udcff")
"""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
    assert run.stdout == b""
    assert run.stderr.count(b"\\u65e5\\udcff") == 2


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_without_standard_error_nothing_is_logged(log_format):
    """Not to standard output either, which has only the ready line."""
    code = f"""
import sys
from unrolled_server.observability import logging_setup
logging_setup.configure(level="info", log_format={log_format!r})
logging_setup.LOG.warning("unheard")
logging_setup.fatal("unheard")
"""
    command = ["/bin/sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_a_supervisor_can_log_without_torch_and_grpc():
    code = (
        "import sys, unrolled_server.observability.logging_setup; print({'torch', 'grpc'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
