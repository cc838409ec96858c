"""The server that a command calls, and the certificates and tokens that it sends."""

import subprocess
import sys

import pytest
from unrolled.entry_points import EXTRAS
from unrolled_client._transport import target
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

TOKEN = "ops-" + "a" * 28


@pytest.fixture(scope="module")
def closed_address(server_identity, authority, tmp_path_factory):
    """A server with TLS that asks for a certificate and a token."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"ops {TOKEN}\n")
    tokens.chmod(0o600)
    settings = Settings(
        address="127.0.0.1:0", tokens=tokens, tls_client_ca=authority.file, **server_identity.settings
    )
    with running_server(settings) as server:
        yield server.address


@pytest.fixture
def mine(authority):
    return authority.issue("command", "me@example.org")


@pytest.fixture
def flags(closed_address, authority, mine):
    """What opens it but for the token."""
    files = {"--root-certificates": authority.file, "--certificate": mine.certificate, "--key": mine.key}
    return ["--target", closed_address, *(text for item in files.items() for text in item)]


@pytest.fixture
def token_file(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    return file


def test_files_open_every_command(run, flags, token_file):
    flags = [*flags, "--token-file", token_file]
    assert "fingerprint" in run("info", *flags).output
    assert "hello" in run("forward", "hello", "--hidden-size", 2, *flags).output
    assert "hello" in run("plot", "hello", "--hidden-size", 2, *flags).output


@pytest.mark.load
def test_files_open_a_load_of_every_transport(run_load, flags, token_file):
    flags = [*flags, "--token-file", token_file]
    load = ("--rate", 50, "--duration-s", 0.5, "--warmup-s", 0, "--no-live")
    for transport in ("unary", "stream", "merged"):
        done = run_load(*load, "--transport", transport, *flags)
        assert done.exit_code == 0, done.output
        assert TOKEN not in done.output


@pytest.mark.load
def test_every_command_spreads_over_the_addresses_of_a_target(run, run_load, server_address):
    """The load's report says how; a stream, whose requests have many networks, is no exception."""
    for spread in ("network", "round_robin"):
        flags = ["--target", f"ipv4:{server_address},{server_address}", "--spread", spread]
        assert "fingerprint" in run("info", *flags).output
        assert "hello" in run("forward", "hello", "--hidden-size", 2, *flags).output
        load = ("--rate", 50, "--duration-s", 0.5, "--warmup-s", 0, "--no-live", "--seed", "0-9")
        for transport in ("unary", "stream", "merged"):
            done = run_load(*load, "--transport", transport, *flags)
            assert done.exit_code == 0, done.output
            assert spread in done.output


@pytest.mark.load
def test_calibration_echoes_an_answer_of_a_closed_server(run_load, flags, token_file):
    load = ("--rate", 50, "--duration-s", 0.5, "--warmup-s", 0, "--no-live", "--calibrate")
    assert run_load(*load, *flags, "--token-file", token_file).exit_code == 0


def test_the_environment_opens_it_too(run, closed_address, authority, mine, monkeypatch):
    monkeypatch.setenv("UNROLLED_TARGET", closed_address)
    monkeypatch.setenv("UNROLLED_ROOT_CERTIFICATES", str(authority.file))
    monkeypatch.setenv("UNROLLED_CERTIFICATE", str(mine.certificate))
    monkeypatch.setenv("UNROLLED_KEY", str(mine.key))
    monkeypatch.setenv("UNROLLED_TOKEN", TOKEN)
    assert "fingerprint" in run("info").output


def test_a_token_file_beats_the_environment(run, flags, token_file, monkeypatch):
    monkeypatch.setenv("UNROLLED_TOKEN", "wrong-" + "b" * 26)
    assert "does not know the token" in run("info", *flags).output
    assert "fingerprint" in run("info", *flags, "--token-file", token_file).output


@pytest.mark.parametrize("option", ["--root-certificates", "--certificate", "--key", "--token-file"])
def test_a_file_that_is_not_there_is_named(run, server_address, option):
    done = run("info", "--target", server_address, option, "no.pem")
    assert done.exit_code == 2
    assert f"{option} no.pem cannot be read" in " ".join(done.output.split())


def test_an_empty_token_file_is_named(run, server_address, tmp_path):
    (tmp_path / "token").write_text("\n")
    done = run("info", "--target", server_address, "--token-file", tmp_path / "token")
    assert done.exit_code == 2
    assert "is empty" in " ".join(done.output.split())


def test_without_a_target_the_default_address_is_asked(run, server_address, monkeypatch):
    """A server that answers on it is used, silently; what opens a server goes with the call."""
    monkeypatch.delenv("UNROLLED_TARGET")
    monkeypatch.setattr(target, "DEFAULT_TARGET", server_address)
    for flags in ([], ["--spread", "network"]):
        done = run("info", *flags)
        assert "fingerprint" in done.stdout
        assert done.stderr == ""


@pytest.mark.parametrize("command", [["info"], ["forward", "hello"], ["plot", "hello"]])
def test_where_nothing_answers_and_none_is_named_the_command_computes(unnamed, command):
    """With the settings' defaults, whatever a server's environment says, and after a notice."""
    done = unnamed(*command, env={"UNROLLED_MAX_WORDS": "0"})
    assert done.stderr == f"unrolled: nothing answers on {target.DEFAULT_TARGET}; computing in this process\n"
    assert done.exit_code == 0
    assert ("fingerprint" if command == ["info"] else "hello") in done.stdout


def test_without_its_packages_computing_names_their_extra(unnamed, monkeypatch):
    monkeypatch.setitem(EXTRAS, "local", ("no_such_package",))
    done = unnamed("forward", "hello")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[1].endswith("(no_such_package): pip install 'unrolled[local]'")
    assert done.stderr.count("\n") == 2


@pytest.mark.parametrize("named", ["--target", "UNROLLED_TARGET"])
def test_where_nothing_answers_on_a_named_target_the_call_fails(unnamed, monkeypatch, named):
    """Nothing is computed in its place."""
    flags = ["--target", target.DEFAULT_TARGET] if named == "--target" else []
    monkeypatch.setenv("UNROLLED_TARGET", target.DEFAULT_TARGET if named == "UNROLLED_TARGET" else "")
    done = unnamed("info", *flags)
    assert done.exit_code == 1
    assert f"{target.DEFAULT_TARGET} is unavailable" in done.stderr
    assert "this process" not in done.stderr


@pytest.mark.parametrize(
    "option", ["--spread", "--root-certificates", "--certificate", "--key", "--token-file"]
)
def test_what_only_a_server_can_heed_is_never_ignored(unnamed, mine, token_file, option):
    """Without a target these options are about the default address."""
    files = {"--token-file": token_file, "--spread": "network"}
    done = unnamed("info", option, files.get(option, mine.certificate))
    assert done.exit_code == 1
    assert "this process" not in done.stderr


def test_a_file_of_vectors_is_read_in_the_commands_process_whatever_answers(
    run, server_address, monkeypatch, tmp_path
):
    """A running server can't load the file, so the one on the default address is not asked."""
    monkeypatch.delenv("UNROLLED_TARGET")
    monkeypatch.setattr(target, "DEFAULT_TARGET", server_address)
    file = tmp_path / "tiny.txt"
    file.write_text("the 0.5 0.25\ncat -0.5 1\n")
    done = run("forward", "the cat", "cat", "--hidden-size", 2, "--vectors", f"tiny={file}")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "(2, 2, 2), layout batch_first, vectors tiny" in done.stdout


def test_a_file_of_vectors_that_is_not_there_is_one_line(run, monkeypatch):
    monkeypatch.delenv("UNROLLED_TARGET")
    done = run("forward", "the cat", "--vectors", "tiny=no/such.txt")
    assert done.exit_code == 1
    assert done.stderr.startswith("unrolled: ")
    assert "no/such.txt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_of_vectors_and_a_running_server_contradict_each_other(run, token_file):
    done = run("forward", "the cat", "--vectors", "tiny=tiny.txt", "--token-file", token_file)
    message = " ".join(done.stderr.split())
    assert done.exit_code == 2
    assert "give --vectors tiny, and start that server with --vectors tiny=tiny.txt" in message
    assert f"--token-file {token_file}" in message


def test_a_refusal_is_one_line(closed_address, other_authority):
    """GRPC's core writes nothing beside it."""
    flags = ["--target", closed_address, "--root-certificates", str(other_authority.file)]
    command = [sys.executable, "-m", "unrolled_client", "info", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "root_certificates do not vouch for the server's certificate" in done.stderr
