"""Checks that replies under real concurrency have the bits of each request computed alone.

`make soak-bits` runs the long form; the suite runs a short one. For each configuration (compute threads,
memory budget, concurrency) it starts a server, calls it concurrently, and compares each reply byte for byte
with the result of a fresh engine.
"""

import argparse
import asyncio
import itertools
import math
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import grpc.aio
import numpy as np
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import split_reply
from unrolled_server.embedded import running_server
from unrolled_server.engine import Engine
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator

LETTERS = "abcdefghijklmnopqrstuvwxyz"
SYLLABLES = ("an", "be", "co", "der", "es", "in", "ment", "re", "st", "tion", "un", "ver")
FORWARD = "/unrolled.v1.ForwardService/Forward"
HIDDEN_SIZES = (1, 2, 3, 16, 31, 50, 64, 100, 256)
OTHER_NETWORKS = 0.4
"""Share of requests for another kind of network than the lesson's."""
RARE = 0.3
"""Share of those with a spectral radius, an embedding, an empty word, or an initial state."""
# Mostly small, like real traffic.
WORD_COUNTS = (1, 1, 1, 2, 3, 3, 5, 8, 16, 33, 64, 256)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request and its expected bytes."""

    request: bytes
    expected: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Settings that must not change any bit."""

    compute_threads: int
    state_memory_mb: int
    concurrency: int


CONFIGURATIONS = tuple(
    Configuration(compute_threads=threads, state_memory_mb=memory, concurrency=concurrency)
    for threads, memory, concurrency in itertools.product((1, 2), (1, 1024), (1, 8, 64))
)


def make_cases(count: int, *, seed: int) -> list[Case]:
    """Returns requests over several networks, each computed alone by a fresh engine."""
    chance = random.Random(seed)
    # Few syllables, so that words share prefixes like words of a language.
    words = ["".join(chance.choices(SYLLABLES, k=chance.randint(1, 3))) for _ in range(5_000)]
    return [_make_case(chance, words) for _ in range(count)]


def _make_case(chance: random.Random, words: list[str]) -> Case:
    batch = chance.choices(words, k=chance.choice(WORD_COUNTS))
    request = pb.ForwardRequest(
        words=batch, hidden_size=chance.choice(HIDDEN_SIZES), seed=chance.randrange(4), alphabet=LETTERS
    )
    if chance.random() < RARE:
        request.alphabet, request.unknown_symbol = LETTERS[1:], pb.UNKNOWN_SYMBOL_ZERO
    if chance.random() < OTHER_NETWORKS:
        _choose_network(request, chance)
    data = request.SerializeToString()
    answer = next(Engine(device="cpu").run([RequestValidator(Settings().limits()).validate(data).job]))
    if isinstance(answer, Exception):
        raise answer
    state = answer.final_state
    arrays = [answer.values, *([] if state is None else [state.h, state.c])]
    return Case(request=data, expected=b"".join(array.tobytes() for array in arrays if array is not None))


def _choose_network(request: pb.ForwardRequest, chance: random.Random) -> None:
    """Chooses another network than the lesson's; few of each kind, so that requests share them."""
    request.network.cell = chance.choice([pb.CELL_RNN, pb.CELL_LSTM, pb.CELL_GRU])
    request.network.num_layers = chance.choice([1, 2])
    request.network.bidirectional = chance.choice([False, True])
    if chance.random() < RARE:
        request.network.spectral_radius = 1.25
    if request.network.cell == pb.CELL_RNN and chance.random() < RARE:
        request.network.leak_rate, request.network.input_scaling, request.network.density = 0.3, 0.5, 0.2
    if chance.random() < RARE:
        request.embedding.random_size = 10
    elif chance.random() < RARE:
        _choose_sentences(request, chance)
    if chance.random() < RARE:
        request.allow_empty_words = True
        request.words.append("")
    request.output = chance.choice([pb.OUTPUT_ALL, pb.OUTPUT_LAST, pb.OUTPUT_MEAN, pb.OUTPUT_MAX])
    request.return_final_state = chance.choice([False, True])
    if chance.random() < RARE:
        _choose_state(request, chance)


def _choose_sentences(request: pb.ForwardRequest, chance: random.Random) -> None:
    """Makes sentences of the words, which get random vectors."""
    sentences = [" ".join(chance.choices(request.words, k=chance.randint(1, 4))) for _ in request.words]
    for name in ("alphabet", "unknown_symbol", "words"):
        request.ClearField(name)
    request.words.extend(sentences)
    request.embedding.random_word_size = chance.choice([3, 50])


def _choose_state(request: pb.ForwardRequest, chance: random.Random) -> None:
    """Sets one of a few initial states for every word."""
    layers = request.network.num_layers * (1 + request.network.bidirectional)
    shape = (layers, len(request.words), request.hidden_size)
    values = [chance.choice([-0.5, 0.0, 0.25]) for _ in range(math.prod(shape))]
    request.initial_state.h.extend(values)
    request.initial_state.h_shape.extend(shape)
    if request.network.cell == pb.CELL_LSTM:
        request.initial_state.c.extend(values)
        request.initial_state.c_shape.extend(shape)


def bits_of(data: bytes) -> bytes:
    """Returns the bytes that must be equal, for a reply in either form: dense values, h_n and c_n."""
    reply = split_reply(data)
    values, state = reply.values, reply.rest.final_state
    if len(reply.index):
        values = values.reshape(-1, reply.rest.shape[-1])[reply.index]
    arrays = [values, np.array(state.h, np.float32), np.array(state.c, np.float32)]
    return b"".join(array.tobytes() for array in arrays)


def count_differing(cases: list[Case], configuration: Configuration, *, replies: int, seed: int) -> int:
    """Requests `replies` replies; returns how many differ from the result computed alone."""
    settings = Settings(
        max_queue_s=3_600,  # so that a busy machine refuses nothing
        address="127.0.0.1:0",
        device="cpu",
        compute_threads=configuration.compute_threads,
        state_memory_mb=configuration.state_memory_mb,
    )
    order = random.Random(seed).choices(cases, k=replies)
    with running_server(settings) as server:
        return asyncio.run(_ask(server.address, iter(order), concurrency=configuration.concurrency))


async def _ask(address: str, order: Iterator[Case], *, concurrency: int) -> int:
    async with grpc.aio.insecure_channel(
        address, options=[("grpc.max_receive_message_length", -1)]
    ) as channel:
        call = channel.unary_unary(FORWARD)

        async def caller() -> int:
            differing = 0
            for case in order:  # shared by all callers
                differing += bits_of(await call(case.request)) != case.expected
            return differing

        return sum(await asyncio.gather(*(caller() for _ in range(concurrency))))


def main() -> int:
    """Runs every configuration; returns 1 if a single byte differed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replies", type=int, default=1_000_000, help="over all configurations")
    parser.add_argument("--cases", type=int, default=2_000, help="different requests")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    cases = make_cases(options.cases, seed=options.seed)
    share = -(-options.replies // len(CONFIGURATIONS))
    differing = 0
    for configuration in CONFIGURATIONS:
        begin = time.perf_counter()
        found = count_differing(cases, configuration, replies=share, seed=options.seed)
        print(
            f"{configuration}: {share:,} replies, {found} differ, {time.perf_counter() - begin:.0f} s",
            flush=True,
        )
        differing += found
    print(f"{share * len(CONFIGURATIONS):,} replies, {differing} differ")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
