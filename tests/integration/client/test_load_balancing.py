"""Several replicas behind one target: which one gets a call, and what happens when one leaves."""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import grpc
import numpy as np
import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import Client, InvalidRequestError, _coalescing
from unrolled_client._messages.validation import check_request
from unrolled_client._transport.endpoint import NETWORK_HEADER, Endpoint
from unrolled_server.embedded import running_server
from unrolled_server.settings import Settings

from tests.support.client_fixtures import BlockingAsyncClient
from tests.support.names import name
from tests.support.processes import TIMEOUT_S
from tests.support.scrapes import scrape, value

PAGE = (Path(__file__).parents[3] / "docs/operate/load-balancing.md").read_text()
LIMITS = pb.Limits(max_words=65_536, max_reply_bytes=32 << 20)
INFO = pb.GetServerInfoReply(limits=LIMITS).SerializeToString()
WORDS = ["hello", "eolll"]
SEEDS = range(40)


class Replica:
    """A server that notes what it is asked for, and can leave and come back at its address."""

    def __init__(self, reply_to, host="127.0.0.1", *, port=0):
        self._reply_to = reply_to
        self._server = None
        self.host = host
        self.port = port
        self.asked = []
        self.metadata = []
        self.arrive()

    @property
    def address(self):
        return f"{self.host}:{self.port}"

    def arrive(self):
        self._server = grpc.server(ThreadPoolExecutor(8))
        methods = {
            "Forward": grpc.unary_unary_rpc_method_handler(self._forward),
            "ForwardStream": grpc.stream_stream_rpc_method_handler(self._forward_stream),
            "GetServerInfo": grpc.unary_unary_rpc_method_handler(lambda _data, _context: INFO),
        }
        handlers = grpc.method_handlers_generic_handler("unrolled.v1.ForwardService", methods)
        self._server.add_generic_rpc_handlers((handlers,))
        self.port = self._server.add_insecure_port(self.address)
        self._server.start()

    def leave(self):
        self._server.stop(grace=None).wait()

    def seeds(self):
        """Those it was asked for since this was asked last."""
        asked, self.asked = self.asked, []
        return {request.seed for request in asked}

    def _note(self, data, context):
        self.asked.append(pb.ForwardRequest.FromString(data))
        self.metadata.append(list(context.invocation_metadata()))

    def _forward(self, data, context):
        self._note(data, context)
        return self._reply_to(data)

    def _forward_stream(self, requests, context):
        latest = None
        for data in requests:
            self._note(data, context)
            request = pb.ForwardRequest.FromString(data)
            if request.same_words:
                request.words[:], request.alphabet = latest.words, latest.alphabet
            latest = request
            yield self._reply_to(request.SerializeToString())


@pytest.fixture
def replicas(reply_to):
    started = [Replica(reply_to) for _ in range(3)]
    yield started
    for replica in started:
        replica.leave()


@pytest.fixture
def target(replicas):
    return "ipv4:" + ",".join(replica.address for replica in replicas)


def ask_all(client, seeds=SEEDS):
    for seed in seeds:
        client.forward(WORDS, hidden_size=4, seed=seed)


def ask_until(client, replica):
    """Asks until a replica is asked, which gRPC connects to when its backoff is over."""
    until_s = time.monotonic() + TIMEOUT_S
    while not replica.asked:
        assert time.monotonic() < until_s
        ask_all(client)
        time.sleep(0.02)  # so that the replicas, and not this loop, get the processor


def homes(replicas):
    """Where each seed was asked for, which is one place."""
    found = [(seed, replica) for replica in replicas for seed in replica.seeds()]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_each_network_has_a_replica_that_all_clients_agree_on(make_client, replicas, target):
    with make_client(target, spread="network") as client:
        ask_all(client)
        ask_all(client)
    first = homes(replicas)
    assert set(first) == set(SEEDS)
    assert set(first.values()) == set(replicas)
    with make_client(target, spread="network") as another:
        ask_all(another)
    assert homes(replicas) == first
    reordered = "ipv4:" + ",".join(replica.address for replica in reversed(replicas))
    with make_client(reordered, spread="network", channels=2) as another:
        ask_all(another)
    # 4,096 places are no multiple of three: in another order another replica has the one that is left over.
    moved = dict(homes(replicas).items() - first.items())
    assert len(moved) <= 2


def test_a_replica_that_leaves_gives_away_its_networks_alone_and_has_them_back(make_client, replicas, target):
    leaver = replicas[1]
    options = [("grpc.max_reconnect_backoff_ms", 100)]
    with make_client(target, spread="network", options=options) as client:
        ask_all(client)
        before = homes(replicas)
        leaver.leave()
        ask_all(client)
        meanwhile = homes(replicas)
        stayed = {seed: replica for seed, replica in before.items() if replica is not leaver}
        assert meanwhile == meanwhile | stayed
        assert leaver not in meanwhile.values()
        leaver.arrive()
        ask_until(client, leaver)
        for replica in replicas:
            replica.seeds()
        ask_all(client)
        assert homes(replicas) == before


def test_round_robin_asks_every_replica(make_client, replicas, target):
    with make_client(target, spread="round_robin") as client:
        ask_all(client)
    assert all(replica.asked for replica in replicas)
    assert not any(NETWORK_HEADER in dict(metadata) for replica in replicas for metadata in replica.metadata)


def test_round_robin_goes_on_without_a_replica_that_left(make_client, replicas, target):
    with make_client(target, spread="round_robin") as client:
        ask_all(client)
        replicas[1].leave()
        ask_all(client)


def test_without_spread_one_replica_is_asked(make_client, replicas, target):
    with make_client(target) as client:
        ask_all(client)
    assert sum(bool(replica.asked) for replica in replicas) == 1


@pytest.mark.usefixtures("in_small_parts")
def test_streams_and_calls_of_one_network_meet(make_client, replicas, target, monkeypatch):
    """A map, a call in parts and a sweep go where the network's, or the first's, calls go."""
    monkeypatch.setattr(_coalescing, "MAX_CALL_BYTES", 1_000)
    network = {"hidden_size": 4, "alphabet": "0123456789"}
    many_words = [f"{number * 7919 % 10**6:06d}" for number in range(300)]
    with make_client(target, spread="network") as client:
        for seed in range(8):
            client.forward(["01"], seed=seed, **network)
            (home,) = [replica for replica in replicas if replica.asked]
            home.asked.clear()
            list(client.map([["01"], ["223"]], seed=seed, **network))
            assert [request.seed for request in home.asked] == [seed] * 2
            home.asked.clear()
            client.forward(many_words, seed=seed, **network)
            assert len(home.asked) > 1
            home.asked.clear()
            list(client.sweep(["01"], hidden_sizes=[4], seeds=[seed, 98, 99], alphabet="0123456789"))
            assert [request.seed for request in home.asked] == [seed, 98, 99]
            home.asked.clear()


def test_merged_calls_of_many_networks_go_where_each_belongs(replicas, target):
    with Client(target, spread="network") as client:
        ask_all(client)
    before = homes(replicas)
    with BlockingAsyncClient(target, spread="network") as client, ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda seed: ask_all(client, [seed]), [*SEEDS] * 3))
    assert homes(replicas) == before


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("channels", [1, 2])
def test_the_key_travels_beside_a_token_and_a_trace(make_client, replicas, target, channels):
    with make_client(target, spread="network", token="t" * 32, tracing=True, channels=channels) as client:
        client.forward(WORDS, hidden_size=4, seed=np.int32(-1))
        list(client.map([WORDS], hidden_size=4, seed=np.int32(-1), alphabet="helo"))
    told = [metadata for replica in replicas for metadata in replica.metadata]
    assert len(told) == 2
    for metadata in told:
        ours = {NETWORK_HEADER: "rnn/4/4294967295/4", "authorization": f"Bearer {'t' * 32}"}
        assert [pair for pair in sorted(metadata) if pair[0] in ours] == sorted(ours.items())
        assert [key for key, _ in metadata].count("traceparent") == 1


def test_servers_that_certify_a_name_are_asked_by_their_addresses(server_identity, authority, write_tokens):
    """TLS and tokens go to each; whose name the certificates have is said by gRPC's option."""
    settings = Settings(
        address="127.0.0.1:0",
        metrics_address="127.0.0.1:0",
        tokens=write_tokens(ops="t" * 32),
        **server_identity.settings,
    )
    with running_server(settings) as one, running_server(settings) as other:
        arguments = {"root_certificates": authority.pem, "token": "t" * 32, "spread": "network"}
        options = [("grpc.ssl_target_name_override", "localhost")]
        target = f"ipv4:{one.address},{other.address}"
        with Client(target, options=options, **arguments) as client:
            ask_all(client)
        for server in (one, other):
            samples = scrape(server.metrics_address)
            assert value(samples, "unrolled_requests_total", method="Forward", code="OK") > 0


@pytest.mark.parametrize("target", ["{}", "dns:///{}", "ipv4:{}"])
def test_one_address_is_a_target_as_any(make_client, replicas, target):
    """A proxy that spreads calls itself is asked so, and hears the keys."""
    with make_client(target.format(replicas[0].address), spread="network") as client:
        ask_all(client)
    assert replicas[0].seeds() == set(SEEDS)


@pytest.mark.parametrize("spread", ["network", "round_robin"])
def test_a_name_is_asked_again_when_a_replica_leaves(make_client, reply_to, spread):
    """As a headless service has it: each replica an address of the name, and another in place of who left."""
    first = Replica(reply_to)
    staying = [first, Replica(reply_to, "127.0.0.2", port=first.port)]
    leaver = Replica(reply_to, "127.0.0.3", port=first.port)
    options = [("grpc.dns_min_time_between_resolutions_ms", 10)]
    with name() as dns, make_client(dns.target(first.port), spread=spread, options=options) as client:
        dns.addresses = [replica.host for replica in (*staying, leaver)]
        ask_all(client)
        before = {replica: replica.seeds() for replica in (*staying, leaver)}
        assert all(before.values())
        successor = Replica(reply_to, "127.0.0.4", port=first.port)
        dns.addresses = [replica.host for replica in (*staying, successor)]
        leaver.leave()
        ask_until(client, successor)
        for replica in (*staying, successor):
            replica.seeds()
        ask_all(client)
        asked = {replica: replica.seeds() for replica in (*staying, successor)}
    for replica in (*staying, leaver, successor):
        replica.leave()
    assert all(asked.values())
    if spread == "network":  # who stays takes over what the leaver had, and gives to the successor alone
        for replica in staying:
            assert asked[replica] <= before[replica] | before[leaver]


def key(words=WORDS, **options):
    defaults = {"hidden_size": 16, "seed": 7, "alphabet": "helo", "layout": "batch_first"}
    known = {name: options.pop(name, default) for name, default in defaults.items()}
    return check_request(words, options=options, **known).network_key


def test_keys_are_as_the_page_says():
    rows = re.findall(r"^\| `forward\((.*)\)` \| `(\S+)` \|$", PAGE, re.MULTILINE)
    assert len(rows) >= 5
    for arguments, documented in rows:
        assert eval(f"key({arguments})", {"key": key, "words": WORDS}) == documented


def test_one_network_has_one_key_whoever_asks_it_what():
    """Words, letters, outputs and the high bits of a seed are not drawn."""
    asked = [
        key(),
        key(words=["l"], alphabet="abcd"),
        key(seed=7 + 2**32),
        key(layout="seq_first"),
        key(output="last"),
        key(return_final_state=True),
        key(cell="rnn", nonlinearity="tanh", num_layers=1, bias=True),
    ]
    assert set(asked) == {"rnn/16/7/4"}


def test_networks_that_differ_have_keys_that_differ():
    options = [
        {},
        {"hidden_size": 17},
        {"seed": -7},
        {"alphabet": "hello world"},
        {"cell": "gru"},
        {"cell": "lstm"},
        {"cell": "lstm", "proj_size": 8},
        {"nonlinearity": "relu"},
        {"num_layers": 2},
        {"bidirectional": True},
        {"bias": False},
        {"spectral_radius": 0.9},
        {"spectral_radius": 0.95},
        {"embedding_size": 8},
        {"vectors": "glove", "alphabet": ""},
        {"vectors": "глове", "alphabet": ""},
    ]
    keys = sorted(key(**each) for each in options)
    assert all(one != other for one, other in pairwise(keys))
    assert all(re.fullmatch(r"[!-~]+", each) for each in keys)


@pytest.mark.parametrize("kind", [Client, BlockingAsyncClient])
def test_a_spread_that_there_is_not_is_refused(kind):
    with pytest.raises(InvalidRequestError, match="spread is 'random'; it must be one of round_robin, netw"):
        kind("localhost:1", spread="random")


@pytest.mark.parametrize(
    "target", ["ipv4:127.0.0.1:1,127.0.0.2:2", "ipv4:///127.0.0.1:1,127.0.0.1:2", "ipv6:[::1]:1,[::1]:2"]
)
def test_a_token_goes_in_clear_text_to_several_addresses_of_this_machine(target):
    assert Endpoint(target=target, token="t" * 32).token


@pytest.mark.parametrize(
    "target", ["ipv4:127.0.0.1:1,10.0.0.1:2", "ipv4:10.0.0.1:1,127.0.0.1:2", "ipv6:[::1]:1,[fd00::1]:2"]
)
def test_a_token_goes_in_clear_text_nowhere_if_one_address_is_elsewhere(target):
    with pytest.raises(InvalidRequestError, match="in clear text"):
        Endpoint(target=target, token="t" * 32)


def test_what_grpc_needs_to_hash_is_asked_of_it_only_where_it_is_used(monkeypatch):
    switch = "GRPC_EXPERIMENTAL_RING_HASH_SET_REQUEST_HASH_KEY"
    monkeypatch.setenv(switch, "")  # so that it is as it was in the end
    monkeypatch.delenv(switch)
    Endpoint(target="localhost:1", spread="round_robin")
    assert switch not in os.environ
    Endpoint(target="localhost:1", spread="network")
    assert os.environ[switch] == "true"
