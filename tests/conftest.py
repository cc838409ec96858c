"""What many tests share: one real server in this process, a channel to it, certificates and tokens.

`--target ray` puts a cluster with Ray Serve in the server's place, and runs the tests that ask it.
"""

import os
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import grpc
import pytest
import trustme
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

pytest_plugins = ["tests.support.cli_fixtures", "tests.support.client_fixtures"]

# The long suites check the shapes in the engine's annotations, at three times its cost. The hook has to come
# before the first import.
CHECKING = (
    install_import_hook("unrolled_server.engine", "beartype.beartype")
    if os.environ.get("CHECK_SHAPES")
    else nullcontext()
)
with CHECKING:
    from unrolled_server.embedded import running_server
    from unrolled_server.engine import proof
    from unrolled_server.security import credential_files
    from unrolled_server.settings import Settings

# A busy machine makes any example slow, which is no property of the code.
settings.register_profile(
    "quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", settings.get_profile("quick"), max_examples=1_000)
settings.load_profile("quick")


def pytest_addoption(parser):
    parser.addoption(
        "--target",
        choices=("server", "ray"),
        default="server",
        help="the server under test: one in this process, or Ray Serve on a cluster of two nodes (which "
        "selects the tests that ask a shared server)",
    )


def pytest_configure(config):
    """Runs a test that is named by its id whatever its markers are."""
    if any("::" in argument for argument in config.args):
        config.option.markexpr = ""


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
def _shared_proofs():
    """Engines of a run share what was proved about this machine; test_proof.py proves it anew."""
    with pytest.MonkeyPatch.context() as patch:
        for find in (proof.find_rule, proof.find_row_counts, proof.find_product_row_counts):
            patch.setattr(proof, find.__name__, cache(find))
        yield


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory):
    """Settings and proxies of whoever runs the tests are not for the servers and clients in them."""
    loopback = "localhost,127.0.0.1,127.0.0.0/8,::1"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("UNROLLED_")]:
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
def server_address(_environment, _shared_proofs, request):
    """HOST:PORT of a server with default limits on a free loopback port."""
    if request.config.getoption("--target") == "ray":
        yield request.getfixturevalue("ray_cluster").address
        return
    settings = Settings(address="127.0.0.1:0", max_queue_s=3_600)  # a busy machine is no reason to refuse
    with running_server(settings) as server:
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
        """As a server takes it."""
        return {"tls_certificate": self.certificate, "tls_key": self.key}

    @property
    def client_arguments(self):
        """As a client takes it."""
        return {"certificate_chain": self.certificate.read_bytes(), "private_key": self.key.read_bytes()}


class Authority:
    """One that vouches for servers and clients, and the folder of its files."""

    def __init__(self, folder):
        self._ca = trustme.CA()
        self._folder = folder
        self.file = folder / "authority.pem"
        self._ca.cert_pem.write_to_path(self.file)

    @property
    def pem(self):
        return self.file.read_bytes()

    def issue(self, file_name, *names, **dates):
        """PEM files of a certificate for these names."""
        issued = self._ca.issue_cert(*(names or ("localhost", "127.0.0.1")), **dates)
        files = Identity(self._folder / f"{file_name}.pem", self._folder / f"{file_name}.key")
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        files.key.write_bytes(issued.private_key_pem.bytes())
        files.key.chmod(0o600)
        return files

    def issue_expired(self, file_name, *names):
        """The same for one that was valid until yesterday."""
        end = datetime.now(UTC) - timedelta(days=1)
        return self.issue(file_name, *names, not_before=end - timedelta(days=1), not_after=end)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The one that is trusted."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def other_authority(tmp_path_factory):
    """One that nobody trusts."""
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="session")
def server_identity(authority):
    """A server's certificate that is right."""
    return authority.issue("server")


@pytest.fixture
def write_tokens(tmp_path):
    """A function that writes a file of tokens, as NAME=TOKEN, and gives where it is."""
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
    """Files of credentials are looked at whenever they are used, not once a second."""
    monkeypatch.setattr(credential_files, "CHECK_INTERVAL_S", 0)
