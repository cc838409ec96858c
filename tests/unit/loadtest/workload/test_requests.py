"""Requests are prepared before the run and are the same in every process."""

import json

import pytest
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import InvalidRequestError
from unrolled_loadtest.workload.requests import make_workload

from tests.support.loadtest.plans import request_mix


def test_requests_have_the_drawn_sizes_and_seeds():
    workload = make_workload(request_mix(words="1-4", hidden_size="choice:2,16", seed="7-9"), seed=0)
    messages = [pb.ForwardRequest.FromString(data) for data in workload.data]
    assert {len(message.words) for message in messages} == {1, 2, 3, 4}
    assert {message.hidden_size for message in messages} == {2, 16}
    assert {message.seed for message in messages} == {7, 8, 9}
    assert len({message.alphabet for message in messages}) == 1, "so all of one size ask one network"


def test_other_options_of_a_call_are_passed_on():
    asked = request_mix(network={"cell": "lstm", "num_layers": 2, "output": "mean"}, alphabet="thewadin")
    (message, *_) = (pb.ForwardRequest.FromString(data) for data in make_workload(asked, seed=0).data)
    assert (message.network.cell, message.network.num_layers) == (pb.CELL_LSTM, 2)
    assert (message.output, message.alphabet) == (pb.OUTPUT_MEAN, "thewadin")


@pytest.mark.parametrize("network", [{"vectors": "glove"}, {"word_embedding_size": 3}])
def test_word_vectors_get_no_alphabet(tmp_path, network):
    path = tmp_path / "sentences.txt"
    path.write_text("the cat sat\n")
    asked = request_mix(words="1", words_file=path, network=network)
    (data,) = make_workload(asked, seed=0).data
    message = pb.ForwardRequest.FromString(data)
    assert (list(message.words), message.alphabet) == (["the cat sat"], "")


def test_the_same_seed_makes_the_same_requests_and_another_does_not():
    first, again, other = (make_workload(request_mix(), seed=seed) for seed in (1, 1, 2))
    assert (first.data, first.order) == (again.data, again.order)
    assert first.data != other.data


def test_equal_requests_are_stored_once_and_keep_their_frequency(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("often\t9\nseldom\t1\n")
    asked = request_mix(words="1", words_file=path, draw="frequency", pool_count=1_000)
    workload = make_workload(asked, seed=0)
    assert len(workload.data) == 2
    often = next(at for at, request in enumerate(workload.requests) if request.words == ["often"])
    assert workload.order.count(often) == pytest.approx(900, rel=0.05)


def test_every_process_sends_all_requests():
    workload = make_workload(request_mix(pool_count=50), seed=0)
    rounds = 50 * len(workload.order)
    asked = [{workload.index_of(number) for number in range(process, rounds, 2)} for process in (0, 1)]
    assert asked[0] == asked[1] == set(range(len(workload.data)))


def test_a_request_is_shown_as_json():
    workload = make_workload(request_mix(), seed=0)
    shown = json.loads(workload.as_json(0))
    assert shown["words"] == list(workload.requests[0].words)
    assert shown["hidden_size"] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [({"pool_count": 0}, "--pool is 0"), ({"hidden_size": str(2**40)}, "hidden_size is")],
)
def test_an_invalid_request_is_refused_before_anything_is_sent(more, message):
    with pytest.raises(InvalidRequestError, match=message):
        make_workload(request_mix(**more), seed=0)
