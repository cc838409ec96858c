"""Judges messages twice: by the server's code and by the contract's rules."""

from functools import cache

import numpy as np
from unrolled.v1 import forward_pb2 as pb
from unrolled.v1.wire import encode_id
from unrolled_server.engine import AnswerTooLargeError, Engine, WordVectors
from unrolled_server.errors import RequestError
from unrolled_server.rpc.pipeline import ForwardReplyEncoder
from unrolled_server.settings import Settings
from unrolled_server.validation.request import RequestValidator

from tests.fault_injection import contract_rules
from tests.fault_injection.mutation import TABLE

FLAGS = {
    "max_words": 6,
    "max_word_length": 8,
    "max_hidden_size": 64,
    "max_alphabet_size": 12,
    "max_reply_bytes": 16 << 10,
    "state_memory_mb": 16,
    "reply_memory_mb": 1,
}
LIMITS = Settings(**FLAGS).limits()
VECTORS = {"the": [0.5, -1.0, 2.0], "cat": [0.25, 0.0, -0.75], "sat": [1.5, 0.125, 0.0]}


def write_vectors(directory):
    """Writes the word vectors of the table that some messages name."""
    source = directory / "small.txt"
    source.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in VECTORS.items()))
    return source


class Judge:
    """Judges messages by the server's code and by the contract's rules, and computes the expected reply.

    Args:
        tables: The server's word vectors by name.
        engine: Computes replies; None to judge only.
    """

    def __init__(self, tables, *, engine=None):
        self._validator = RequestValidator(LIMITS, tables)
        self._words = {TABLE: set(VECTORS)}
        self._engine = engine
        self._digest = cache(self._digest_of_plain)

    def accepted(self, data):
        """Returns the accepted request or the RequestError; any other error fails with the bytes."""
        try:
            return self._validator.validate(data)
        except RequestError as error:
            return error
        except Exception as error:
            raise AssertionError(f"accept failed on {data.hex()}") from error

    def why_refused(self, data, *, earlier=None):
        """See `contract_rules.why_refused`."""
        return contract_rules.why_refused(
            data, limits=LIMITS, tables=self._words, digest_of=self.digest_of, earlier=earlier
        )

    def digest_of(self, request, texts):
        """Returns the digest of a request's network."""
        plain = pb.ForwardRequest(
            words=texts.words, alphabet=texts.alphabet, hidden_size=request.hidden_size, seed=request.seed
        )
        plain.unknown_symbol, plain.allow_empty_words = request.unknown_symbol, request.allow_empty_words
        for name in ("network", "embedding"):
            if request.HasField(name):
                getattr(plain, name).CopyFrom(getattr(request, name))
        return self._digest(plain.SerializeToString())

    def _digest_of_plain(self, data):
        request = self.accepted(data)
        return "" if isinstance(request, RequestError) else request.job.network.digest

    def reply(self, accepted, *, fingerprint):
        """Returns the reply's bytes without timing; None if it is too large, which only its states show."""
        encoder = ForwardReplyEncoder(fingerprint=fingerprint)
        pending = encoder.start(accepted.job, id_field=encode_id(accepted.id))
        result = self._engine.run_one(accepted.job)
        if isinstance(result, AnswerTooLargeError):
            return None
        assert not isinstance(result, Exception), (accepted.data.hex(), result)
        return pending.finish(result, queue_s=0.0, compute_s=0.0)


def verified_engine(tables):
    """Returns an engine like the server's, with little memory."""
    vectors = [WordVectors(table.digest, table.rows, table.mean) for table in tables.values()]
    engine = Engine(device="cpu", state_memory_bytes=32 << 20, vectors=vectors)
    engine.verify()
    return engine


def without_timing(reply):
    """Returns a reply in protobuf's encoding, without the fields that may differ between equal requests."""
    message = pb.ForwardReply.FromString(reply)
    message.ClearField("timing")
    return message.SerializeToString()


def same_job(job, other):
    """Returns whether two jobs are equal, including states and symbols."""
    plain = ("network", "layout", "form", "output", "return_final_state", "max_reply_bytes")
    return (
        all(getattr(job, name) == getattr(other, name) for name in plain)
        and np.array_equal(job.words.codes, other.words.codes)
        and np.array_equal(job.words.lengths, other.words.lengths)
        and _same_state(job.initial_state, other.initial_state)
    )


def _same_state(state, other):
    if state is None or other is None:
        return state is other
    pairs = ((state.h, other.h), (state.c, other.c))
    return all((a is None) == (b is None) and (a is None or a.tobytes() == b.tobytes()) for a, b in pairs)
