"""TLS and tokens as both clients meet them, against a real server."""

import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from unrolled_client import AuthenticationError, Client, InvalidRequestError, UnavailableError
from unrolled_client._transport.call_errors import error_from_call
from unrolled_server.embedded import running_server
from unrolled_server.rpc.service import ForwardService
from unrolled_server.settings import Settings

TOKEN = "ops-" + "a" * 28
LIFETIME_S = 0.2
TIMEOUT_S = 120


@pytest.fixture(scope="module")
def tls_address(server_identity):
    with running_server(Settings(address="127.0.0.1:0", **server_identity.settings)) as server:
        yield server.address


def unavailable(client):
    with pytest.raises(UnavailableError) as caught:
        client.server_info()
    return caught.value.message


def test_the_right_authority_is_answered_and_a_wrong_one_said(
    make_client, tls_address, authority, other_authority
):
    with make_client(tls_address, root_certificates=authority.pem) as client:
        assert client.forward(["hello"], hidden_size=2).outputs.shape == (1, 5, 2)
        (outcome,) = client.map([["hello"]], hidden_size=2, alphabet="helo")
        assert outcome.error is None
    with make_client(tls_address, root_certificates=other_authority.pem) as client:
        assert "root_certificates do not vouch for the server's certificate" in unavailable(client)


def test_a_client_in_clear_text_is_told_what_may_be_missing(make_client, tls_address):
    with make_client(tls_address) as client:
        assert "if it speaks TLS, give root_certificates" in unavailable(client)


def test_tls_to_a_server_in_clear_text_is_said(make_client, server_address, authority):
    with make_client(server_address, root_certificates=authority.pem) as client:
        assert "the server does not speak TLS here; leave root_certificates out" in unavailable(client)


def test_a_client_without_a_certificate_is_told_what_may_be_missing(make_client, server_identity, authority):
    settings = Settings(address="127.0.0.1:0", tls_client_ca=authority.file, **server_identity.settings)
    mine = authority.issue("sdk", "me@example.org").client_arguments
    with running_server(settings) as server:
        with make_client(server.address, root_certificates=authority.pem, **mine) as client:
            assert client.server_info().version
        with make_client(server.address, root_certificates=authority.pem) as client:
            assert "if it asks who calls, private_key and certificate_chain" in unavailable(client)


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        ("CERTIFICATE_VERIFY_FAILED: certificate has expired", "its operator must renew it"),
        ("Hostname Verification Check failed", "is for another name"),
        ("Failed to create security handshaker", "must be PEM"),
        ("Connection refused", ""),
    ],
)
def test_every_failed_handshake_has_a_remedy(words, remedy):
    class Failed(grpc.RpcError):
        def code(self):
            return grpc.StatusCode.UNAVAILABLE

        def details(self):
            return f"failed to connect to all addresses; last error: {words}"

        def trailing_metadata(self):
            return ()

    message = error_from_call(Failed(), target="host:1").message
    assert message.startswith("host:1 is unavailable: ")
    assert words in message
    assert remedy in message


def test_a_token_opens_calls_and_streams_and_a_wrong_one_is_said(make_client, write_tokens):
    with running_server(Settings(address="127.0.0.1:0", tokens=write_tokens(ops=TOKEN))) as server:
        with make_client(server.address, token=TOKEN) as client:
            assert client.server_info().version
            (outcome,) = client.map([["hello"]], hidden_size=2, alphabet="helo")
        assert outcome.error is None
        for token, reason in ((None, "wants a token"), ("b" * 32, "does not know the token")):
            with make_client(server.address, token=token) as client:
                for ask in (
                    client.server_info,
                    lambda client=client: client.forward(["hello"], hidden_size=2),
                    lambda client=client: list(client.map([["hello"]], hidden_size=2, alphabet="helo")),
                ):
                    with pytest.raises(AuthenticationError, match=reason) as caught:
                        ask()
                    assert not caught.value.is_retryable


@pytest.mark.parametrize("name", ["root_certificates", "private_key", "certificate_chain"])
def test_a_path_in_place_of_its_content_is_refused(name):
    with pytest.raises(TypeError, match=f"{name} is a str; give the PEM as bytes"):
        Client("localhost:1", **{name: "some/file.pem"})


@pytest.mark.parametrize("token", ["s3cret\n", "two words", "", "schlüssel"])
def test_a_token_that_cannot_travel_is_refused_and_not_quoted(token):
    """The client library would quote it in its own complaint."""
    with pytest.raises(InvalidRequestError, match="cannot travel") as caught:
        Client("localhost:1", token=token)
    assert not token or token not in str(caught.value)


@pytest.fixture(scope="module")
def peers():
    """The connections that calls of the ageing server came over."""
    return []


@pytest.fixture(scope="module")
def ageing_address(peers):
    """A server that ends each connection after a fraction of a second."""
    settings = Settings(address="127.0.0.1:0", max_connection_age_s=LIFETIME_S, drain_timeout_s=LIFETIME_S)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("forward", "forward_stream"):
            patch.setattr(ForwardService, name, noting_peers(getattr(ForwardService, name), peers))
        with running_server(settings) as server:
            yield server.address


def noting_peers(method, peers):
    async def noting(self, asked, context):
        peers.append(context.peer())
        return await method(self, asked, context)

    return noting


def until_connections(peers, count):
    """Yields until calls have come over so many connections."""
    end_s = time.monotonic() + TIMEOUT_S
    while len(set(peers)) < count:
        assert time.monotonic() < end_s
        yield


def test_calls_go_on_without_loss_when_connections_end_for_age(make_client, ageing_address, peers):
    """Calls of four threads over three connections: each has its answer."""

    def ask(client, expected):
        for _ in until_connections(peers, 3):
            assert (client.forward(["hello"], hidden_size=2).outputs == expected).all()

    peers.clear()
    with make_client(ageing_address) as client, ThreadPoolExecutor(4) as pool:
        expected = client.forward(["hello"], hidden_size=2).outputs
        for asking in [pool.submit(ask, client, expected) for _ in range(4)]:
            asking.result()


def test_a_stream_goes_on_without_loss_when_connections_end_for_age(make_client, ageing_address, peers):
    """One map over three connections: each batch has its answer, in order."""
    peers.clear()
    with make_client(ageing_address) as client:
        expected = client.forward(["hello"], hidden_size=2, alphabet="helo").outputs
        batches = (["hello"] for _ in until_connections(peers, 3))
        outcomes = list(client.map(batches, hidden_size=2, alphabet="helo"))
    assert [outcome.index for outcome in outcomes] == list(range(len(outcomes)))
    assert all((outcome.result.outputs == expected).all() for outcome in outcomes)
