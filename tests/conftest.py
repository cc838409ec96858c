"""Shared fixtures: one real server in this process, a channel to it, certificates and tokens.

`--target ray` replaces the server by Ray Serve on a cluster, and selects the tests that call the shared
server.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
import trustme
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

pytest_plugins = ["tests.support.cli_fixtures", "tests.support.client_fixtures"]

# The long suites check the shapes in the engine's annotations, which triples its cost. The hook must precede
# the first import.
CHECKING = (
    install_import_hook("unrolled_server.engine", "beartype.beartype")
    if os.environ.get("CHECK_SHAPES")
    else nullcontext()
)
with CHECKING:
    from unrolled_server.embedded import running_server
    from unrolled_server.security import credential_files
    from unrolled_server.settings import Settings

# How a test's client computes, by the fixture that makes it.
WAYS = {
    "make_client": ["sync", "async", pytest.param("async, unmerged", marks=pytest.mark.long)],
    "make_async_client": ["async"],
}
LOCAL_WAYS = {
    "make_client": ["in process", pytest.param("in process, async", marks=pytest.mark.long)],
    "make_async_client": ["in process"],
}
# What a client in process has no use for: fixtures, and files of tests about the network.
NETWORK_FIXTURES = {"serve", "serve_stream", "free_port", "waiting", "exporter"}
NETWORK_FILES = {"test_access.py", "test_green_threads.py", "test_proxy.py"}

# No deadlines: a busy machine makes any example slow.
settings.register_profile(
    "quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("quick"), max_examples=2_000)
settings.load_profile("quick")


def pytest_addoption(parser):
    parser.addoption(
        "--target",
        choices=("server", "ray"),
        default="server",
        help="the server under test: one in this process, or Ray Serve on a cluster of two nodes (which "
        "selects the tests that call the shared server)",
    )


def pytest_configure(config):
    """Runs a test that is selected by its id whatever its markers are."""
    if any("::" in argument for argument in config.args):
        config.option.markexpr = ""


def pytest_generate_tests(metafunc):
    """Runs tests of clients in several ways, and in process if they ask the suite's own servers."""
    names = set(metafunc.fixturenames)
    asks_suite = bool({"server_address", "vectors_address"} & names)
    asks_network = NETWORK_FIXTURES & names or metafunc.definition.path.name in NETWORK_FILES
    is_local_too = asks_suite and not asks_network and metafunc.config.getoption("--target") != "ray"
    for fixture in WAYS.keys() & names:
        ways = WAYS[fixture] + (LOCAL_WAYS[fixture] if is_local_too else [])
        metafunc.parametrize(fixture, ways, indirect=True, scope="session")


def pytest_collection_modifyitems(config, items):
    """Deselects tests that can't use Ray Serve where the server under test is Ray Serve."""
    is_ray_target = config.getoption("--target") == "ray"
    deselected = [item for item in items if not _is_selected(item, is_ray_target=is_ray_target)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in set(deselected)]


def _is_selected(item, *, is_ray_target):
    if not is_ray_target and not item.get_closest_marker("ray"):
        return True
    asks_server = {"server_address", "ray_cluster"} & set(getattr(item, "fixturenames", ()))
    return bool(asks_server and not item.get_closest_marker("own_server"))


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory):
    """Hides settings and proxies in the user's environment from the servers and clients of the tests."""
    loopback = "localhost,127.0.0.1,127.0.0.0/8,::1"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("UNROLLED_")]:
            if name != "UNROLLED_ISA":  # the suite may be run with any instruction set
                patch.delenv(name)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, ",".join(filter(None, (os.environ.get(name), loopback))))
        patch.setenv("UNROLLED_VECTORS_CACHE", str(tmp_path_factory.mktemp("vectors")))
        yield


@pytest.fixture(scope="session")
def ray_cluster():
    """Ray Serve on two nodes of this machine, a replica on each."""
    from tests.ray.serving import served_cluster  # noqa: PLC0415 - only tests of Ray need it

    with served_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def server_address(_environment, request, local_settings):
    """HOST:PORT of a server with default limits on a free loopback port."""
    if request.config.getoption("--target") == "ray":
        yield request.getfixturevalue("ray_cluster").address
        return
    settings = Settings(address="127.0.0.1:0", max_queue_s=3_600)  # so that a busy machine refuses nothing
    with running_server(settings) as server:
        local_settings[server.address] = {}
        yield server.address


@pytest.fixture
def channel(server_address):
    """A plain gRPC channel to the server, for tests of the contract rather than of the SDK."""
    with grpc.insecure_channel(server_address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield channel


@dataclass(frozen=True)
class Identity:
    """PEM files of a certificate and its key."""

    certificate: Path
    key: Path

    @property
    def settings(self):
        """Returns the server's settings."""
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    @property
    def client_arguments(self):
        """Returns the client's arguments."""
        return {"certificate_chain": self.certificate.read_bytes(), "private_key": self.key.read_bytes()}


class Authority:
    """A certificate authority for servers and clients, and the folder of its files."""

    def __init__(self, folder):
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    @property
    def pem(self):
        return self.file.read_bytes()

    def issue(self, file_name, *names, **dates):
        """Returns the PEM files of a new certificate for these names."""
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **dates)
        files = Identity(self._folder / f"{file_name}.pem", self._folder / f"{file_name}.key")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        files.key.chmod(0o600)
        return files

    def issue_expired(self, file_name, *names):
        """Returns the PEM files of a certificate that was valid until yesterday."""
        end = datetime.now(UTC) - timedelta(days=1)
        return self.issue(file_name, *names, not_before=end - timedelta(days=1), not_after=end)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The authority that servers and clients trust."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory):
    """An authority that no server or client trusts."""
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def server_identity(authority):
    """A valid server certificate."""
    return authority.issue("server")


@pytest.fixture
def write_tokens(tmp_path):
    """A function that writes a token file from NAME=TOKEN arguments and returns its path."""
    file = tmp_path / "tokens"

    def write(**tokens):
        new = tmp_path / "tokens.new"
        new.touch(mode=0o600)
        new.write_text("".join(f"{name} {token}\n" for name, token in tokens.items()))
        new.replace(file)
        return file

    return write


@pytest.fixture
def always_looking(monkeypatch):
    """Credential files are checked at every use, not once a second."""
    monkeypatch.setattr(credential_files, "CHECK_INTERVAL_S", 0)
