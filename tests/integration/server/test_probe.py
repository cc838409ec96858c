"""The health probe exits with 0 if the server serves, and else with 1 and the reason."""

import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from unrolled_server import probe
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings


@pytest.fixture
def probed(monkeypatch, capsys):
    """A function that runs the probe with these settings in the environment; returns exit code and output."""
    monkeypatch.setattr(probe, "TIMEOUT_S", 60)  # a busy machine is no fault of the server

    def run(**settings):
        for name, value in settings.items():
            monkeypatch.setenv(f"UNROLLED_{name.upper()}", str(value))
        code = probe.main()
        said = capsys.readouterr()
        return code, said.err if code else said.out

    return run


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with a server's certificate and key, its authority, and another authority."""
    folder = tmp_path_factory.mktemp("certificates")
    authority = trustme.CA()
    own = authority.issue_cert("unrolled.example")
    own.private_key_pem.write_to_path(folder / "tls.key")
    for blob in own.cert_chain_pems:
        blob.write_to_path(folder / "tls.crt", append=True)
    authority.cert_pem.write_to_path(folder / "ca.crt")
    trustme.CA().cert_pem.write_to_path(folder / "other.crt")
    return folder


@contextmanager
def health_server(*, credentials=None, status=health_pb2.HealthCheckResponse.SERVING, has_health=True):
    """Yields the address of a plain gRPC server with only a health service."""
    server = grpc.server(ThreadPoolExecutor(1))
    if has_health:
        servicer = health.HealthServicer()
        servicer.set("", status)
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = "127.0.0.1:0"
    if credentials is None:
        port = server.add_insecure_port(address)
    else:
        port = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def tls(folder, *, client_authority=None):
    key, chain = (folder / "tls.key").read_bytes(), (folder / "tls.crt").read_bytes()
    roots = (folder / client_authority).read_bytes() if client_authority else None
    return grpc.ssl_server_credentials([(key, chain)], roots, require_client_auth=roots is not None)


@contextmanager
def fixed_answer_server(answer, *, hangs_up):
    """Yields the address of a server that sends these bytes to its client, then hangs up or waits."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.sendall(answer)
                if hangs_up:
                    connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


@pytest.mark.own_server
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::]", "0.0.0.0"])
def test_a_server_is_found_by_its_listening_address(probed, server_address, host):
    address = f"{host}:{server_address.rpartition(':')[2]}"
    assert probed(address=address) == (0, f"{address} serves\n")


def test_a_server_on_every_interface_is_found(probed):
    with running_server(Settings(address="[::]:0", allow_plaintext=True)) as server:
        assert probed(address=server.address)[0] == 0


@pytest.mark.own_server
def test_loopback_is_found_without_name_resolution(probed, monkeypatch, server_address):
    look_up = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more: look_up(host, *more, flags=socket.AI_NUMERICHOST)
    )
    assert probed(address=f"[::]:{server_address.rpartition(':')[2]}")[0] == 0


def test_a_server_on_a_unix_socket_is_found(probed, tmp_path):
    address = f"unix:{tmp_path}/s"
    assert probed(address=address) == (1, f"{address} does not serve: [Errno 2] No such file or directory\n")
    with running_server(Settings(address=address)):
        assert probed(address=address) == (0, f"{address} serves\n")


def test_the_probe_accepts_the_same_unix_socket_address_as_the_server(probed, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with running_server(Settings(address="unix:~/a%20b")) as server:
        assert probed(address="unix:~/a%20b") == (0, f"{server.address} serves\n")


def test_a_malformed_address_is_reported_in_one_line(probed):
    right = "write '[::]:50051' for every interface or '127.0.0.1:50051' for this machine"
    assert probed(address=":50051") == (1, f"address is ':50051': it has no host; {right}\n")


def test_the_default_address_is_that_of_the_server(monkeypatch):
    monkeypatch.delenv("UNROLLED_ADDRESS", raising=False)
    assert probe.ProbeSettings().address == Settings.model_fields["address"].default


def test_an_absent_server_is_reported(probed):
    with socket.create_server(("127.0.0.1", 0)) as left:
        address = f"127.0.0.1:{left.getsockname()[1]}"
    assert probed(address=address) == (1, f"{address} does not serve: [Errno 111] Connection refused\n")


def test_a_draining_server_is_reported(probed):
    with health_server(status=health_pb2.HealthCheckResponse.NOT_SERVING) as address:
        assert probed(address=address) == (1, f"{address} does not serve: NOT_SERVING\n")


def test_a_server_without_a_health_service_is_reported(probed):
    with health_server(has_health=False) as address:
        code, words = probed(address=address)
    assert code == 1
    assert words.startswith(f"{address} does not serve: its health service answers gRPC status 12: ")


@pytest.mark.parametrize(
    ("answer", "hangs_up", "words"),
    [
        (b"", False, "timed out"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False, "timed out"),
        (b"", True, "it closed the connection before it answered"),
        (b"\0\0\x08\x07\0\0\0\0\0" + b"\0\0\0\0\0\0\0\x0b", False, "it ended the call with HTTP/2 error 11"),
        (b"\0\0\x04\x03\0\0\0\0\x01" + b"\0\0\0\x07", False, "it ended the call with HTTP/2 error 7"),
        (b"\0\0\x00\x01\x04\0\0\0\x07", False, "Invalid stream ID"),
    ],
    ids=["silence", "HTTP/1.1", "hanging up", "GOAWAY", "RST_STREAM", "not asked for"],
)
def test_a_server_that_does_not_answer_is_reported(probed, monkeypatch, answer, hangs_up, words):
    if words == "timed out":
        monkeypatch.setattr(probe, "TIMEOUT_S", 0.1)
    with fixed_answer_server(answer, hangs_up=hangs_up) as address:
        code, told = probed(address=address)
    assert (code, told.startswith(f"{address} does not serve: {words}")) == (1, True), told


def test_tls_is_used_if_the_server_has_a_certificate_of_any_name(probed, certificates):
    with health_server(credentials=tls(certificates)) as address:
        found = probed(address=address, tls_certificate=certificates / "tls.crt")
    assert found == (0, f"{address} serves\n")


def test_a_certificate_that_is_newer_than_the_servers_does_not_fail_the_probe(probed, certificates, tmp_path):
    renewed = tmp_path / "tls.crt"
    trustme.CA().issue_cert("unrolled.example").cert_chain_pems[0].write_to_path(renewed)
    with health_server(credentials=tls(certificates)) as address:
        assert probed(address=address, tls_certificate=renewed)[0] == 0


def test_with_client_certificates_the_probe_presents_the_servers_own(probed, certificates):
    with health_server(credentials=tls(certificates, client_authority="ca.crt")) as address:
        found = probed(
            address=address,
            tls_certificate=certificates / "tls.crt",
            tls_key=certificates / "tls.key",
            tls_client_ca=certificates / "ca.crt",
        )
    assert found == (0, f"{address} serves\n")


def test_a_certificate_of_another_authority_is_refused(probed, certificates):
    with health_server(credentials=tls(certificates, client_authority="other.crt")) as address:
        code, words = probed(
            address=address,
            tls_certificate=certificates / "tls.crt",
            tls_key=certificates / "tls.key",
            tls_client_ca=certificates / "other.crt",
        )
    assert code == 1
    assert words.startswith(f"{address} does not serve: ")


def test_plain_text_to_a_tls_port_and_tls_to_a_plain_one_fail(probed, certificates):
    with health_server(credentials=tls(certificates)) as address:
        assert probed(address=address)[0] == 1
    with health_server() as address:
        assert probed(address=address, tls_certificate=certificates / "tls.crt")[0] == 1


@pytest.mark.own_server
def test_the_probe_loads_neither_torch_nor_grpc(server_address):
    command = [sys.executable, "-X", "importtime", "-m", "unrolled_server.probe"]
    environment = {**os.environ, "UNROLLED_ADDRESS": server_address}
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert run.stdout == f"{server_address} serves\n"
    loaded = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "h2" in loaded
    assert not {"torch", "grpc", "numpy"} & loaded
