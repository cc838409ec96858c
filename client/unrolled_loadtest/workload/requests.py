"""The requests of a run, made before its clock starts: every process makes the same from the plan."""

from dataclasses import dataclass

import numpy as np
from google.protobuf import json_format
from unrolled.v1 import forward_pb2 as pb
from unrolled_client import derive_alphabet
from unrolled_client.low_level import Request, check_request, encode_request

from unrolled_loadtest.workload.plan import Questions
from unrolled_loadtest.workload.vocabulary import load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is asked, and in which order.

    Attributes:
        requests: Each different one once.
        data: Their bytes, as the SDK sends them.
        order: The indices of those that are asked one after the other; then it begins again, one further.
    """

    requests: tuple[Request, ...]
    data: tuple[bytes, ...]
    order: tuple[int, ...]

    def index_of(self, number: int) -> int:
        """Which request is asked as number so many of a run.

        Each round begins one further, so that processes, which take turns, meet each other's requests.
        """
        rounds, place = divmod(number, len(self.order))
        return self.order[(place + rounds) % len(self.order)]

    def as_json(self, index: int) -> str:
        """One request, for a person and for tools that speak JSON."""
        message = pb.ForwardRequest.FromString(self.data[index])
        return json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None)


def make_workload(questions: Questions, *, seed: int) -> Workload:
    """Draws and encodes all requests.

    Args:
        questions: What to ask.
        seed: As for torch.manual_seed: numbers of the same 64 bits are one seed.

    Raises:
        InvalidRequestError: A value that the contract cannot carry, or a file without words.
        TypeError: The same of a type.
        OSError: A file cannot be read.
    """
    vocabulary = load_vocabulary(questions.words_file, draw=questions.draw)
    has_vectors = questions.network.get("vectors") is not None
    alphabet = questions.alphabet or (None if has_vectors else derive_alphabet(vocabulary.words))
    rng = np.random.default_rng((seed % 2**64, 0))
    count = questions.pool_count
    word_counts = questions.words_per_request.draw(rng, count)
    sizes, seeds = questions.hidden_size.draw(rng, count), questions.seed.draw(rng, count)
    found: dict[bytes, Request] = {}
    order = []
    for words, hidden_size, network_seed in zip(word_counts, sizes, seeds, strict=True):
        request = check_request(
            vocabulary.draw(rng, int(words)),
            hidden_size=int(hidden_size),
            seed=int(network_seed),
            alphabet=alphabet,
            layout=questions.layout,
            options=questions.network,
        )
        data = encode_request(request).data
        found.setdefault(data, request)
        order.append(data)
    places = {data: at for at, data in enumerate(found)}
    return Workload(
        requests=tuple(found.values()),
        data=tuple(found),
        order=tuple(places[data] for data in order),
    )
