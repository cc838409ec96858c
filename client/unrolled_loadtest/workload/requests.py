"""Requests of a run, made before its clock starts; every process makes the same ones from the plan."""

from dataclasses import dataclass

import numpy as np
from google.protobuf import json_format
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import derive_alphabet
from unrolled_client.low_level import Request, check_request, encode_request

from unrolled_loadtest.workload.plan import RequestMix
from unrolled_loadtest.workload.vocabulary import load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The requests of a run and their order.

    Attributes:
        requests: The distinct requests.
        data: Their bytes, as the SDK sends them.
        order: Indices in the order of sending, for one round.
    """

    requests: tuple[Request, ...]
    data: tuple[bytes, ...]
    order: tuple[int, ...]

    def index_of(self, number: int) -> int:
        """Returns the index of the request that is sent as the run's request `number`.

        Each round begins one place further, so that processes, which take turns, send each other's requests.
        """
        rounds, place = divmod(number, len(self.order))
        return self.order[(place + rounds) % len(self.order)]

    def as_json(self, index: int) -> str:
        """Returns one request as JSON."""
        message = pb.ForwardRequest.FromString(self.data[index])
        return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def make_workload(mix: RequestMix, *, seed: int) -> Workload:
    """Draws and encodes all requests; seeds with the same 64 bits are equal, as for torch.manual_seed.

    Raises:
        InvalidRequestError: A value that the contract cannot carry, or a file without words.
        TypeError: A value of a wrong type.
    """
    vocabulary = load_vocabulary(mix.words_file, draw=mix.draw)
    has_sentences = {"vectors", "word_embedding_size"} & {*mix.network}
    alphabet = mix.alphabet or (None if has_sentences else derive_alphabet(vocabulary.words))
    rng = np.random.default_rng((seed % 2**64, 0))
    count = mix.pool_count
    word_counts = mix.words_per_request.draw(rng, count)
    sizes, seeds = mix.hidden_size.draw(rng, count), mix.seed.draw(rng, count)
    found: dict[bytes, Request] = {}
    order = []
    for words, hidden_size, network_seed in zip(word_counts, sizes, seeds, strict=True):
        request = check_request(
            vocabulary.draw(rng, int(words)),
            hidden_size=int(hidden_size),
            seed=int(network_seed),
            alphabet=alphabet,
            layout=mix.layout,
            options=mix.network,
        )
        data = encode_request(request).data
        found.setdefault(data, request)
        order.append(data)
    places = {data: at for at, data in enumerate(found)}
    return Workload(
        requests=tuple(found.values()), data=tuple(found), order=tuple(places[data] for data in order)
    )
