"""Decides whether a call travels as one request or in parts, and in which form its reply comes."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unrolled_client._messages.request import EncodedRequest, Request, encode
from unrolled_client.network import Network
from unrolled_client.results import Limits

# docs/decisions/0016-large-calls-in-parts.md says how these were measured.
MAX_WHOLE_BYTES = 24 << 20
"""A call with larger arrays travels in parts, also if the server would allow it in one."""
DEFAULT_MAX_IN_FLIGHT = 32
"""Batches of `map`, or networks of `sweep`, that may be requested and not yet yielded."""
MIN_BULK_BYTES = 1 << 20
"""A call with smaller arrays is sent as one request without asking for the server's limits."""
MIN_BULK_WORDS = 1_024
"""The same for the number of words."""
MAX_PART_WORDS = 4_096
"""Words in one request, if the server allows as many."""
MIN_DISTINCT_BYTES = 512 << 10
"""From this size of the dense array on it pays to count the distinct states."""
MAX_DISTINCT_SHARE = 0.6
"""The distinct form is chosen up to this share of the dense form's bytes: gathering costs time, too."""
FLOAT_BYTES = 4
INDEX_BYTES = 4
MAX_LETTER_BYTES = 4
_COMPARED_WORDS = 4_096


def may_be_bulk(request: Request) -> bool:
    """Returns whether the answer of `is_bulk` may depend on the server's limits, or be yes."""
    is_large = message_bytes(request) > MIN_BULK_BYTES or len(request.words) > MIN_BULK_WORDS
    return is_large and request.layout == "batch_first"


def is_bulk(request: Request, limits: Limits) -> bool:
    """Returns whether a call travels in parts; never with layout "seq_first", which links its words."""
    is_large = message_bytes(request) > min(MAX_WHOLE_BYTES, limits.max_reply_bytes) or len(
        request.words
    ) > min(MAX_PART_WORDS, limits.max_words)
    return is_large and request.layout == "batch_first" and request.hidden_size > 0


def dense_bytes(request: Request) -> int:
    """Returns the bytes of the dense array of all states; a pooled output is smaller, but costs as much."""
    return len(request.words) * max(request.lengths, default=0) * request.hidden * FLOAT_BYTES


def message_bytes(request: Request) -> int:
    """Returns about how many bytes the larger message of a call has if it is one request."""
    size = dense_bytes(request) + len(request.words) * state_bytes(request)
    if request.network.reads_sentences:  # sentences may be larger than their states
        size = max(size, MAX_LETTER_BYTES * sum(map(len, request.words)))
    return size


def state_bytes(request: Request) -> int:
    """Returns the bytes of one word's initial or final state, 0 if the call has neither."""
    network = request.network
    if not network.return_final_state and request.initial_state is None:
        return 0
    width = (network.proj_size or request.hidden_size) + request.hidden_size * (network.cell == "lstm")
    return network.num_layers * network.directions * width * FLOAT_BYTES


def encode_whole(request: Request, *, request_id: str = "") -> EncodedRequest:
    """Returns a call as one request, with the form of reply that costs less."""
    return encode(request, is_distinct=prefers_distinct(request), request_id=request_id)


def prefers_distinct(request: Request, *, count_states: Callable[[], int] | None = None) -> bool:
    """Returns whether the reply costs less with each distinct state once; `count_states` may be cached."""
    if not may_share(request) or (size := dense_bytes(request)) < MIN_DISTINCT_BYTES:
        return False
    row_count = 1 + (distinct_state_count(request) if count_states is None else count_states())
    index_bytes = len(request.words) * max(request.lengths) * INDEX_BYTES
    return row_count * request.hidden * FLOAT_BYTES + index_bytes <= size * MAX_DISTINCT_SHARE


def distinct_state_count(request: Request) -> int:
    """Returns about how many distinct states the words have."""
    words = sorted_for_sharing(request.words, request.network)
    return int(new_state_counts(words, request.network).sum())


def may_share(request: Request) -> bool:
    """Returns whether words of a call can have states in common that its reply can send once."""
    is_from_zeros = request.initial_state is None
    is_sent = not request.is_local
    return is_sent and request.layout == "batch_first" and not request.network.is_pooled and is_from_zeros


def sorted_for_sharing(words: Iterable[str], network: Network) -> list[str]:
    """Returns the distinct words in the order in which neighbours share most."""
    return sorted(set(words), key=str.split if network.reads_sentences else None)


def new_state_counts(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """Returns how many states each word has beyond those of the word before, (words,).

    For words from `sorted_for_sharing` their sum is the number of distinct states, or more if words end in
    NUL or sentences differ only in white space.
    """
    if network.bidirectional:  # whose states depend on the whole word
        return np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    steps = range(0, len(words), _COMPARED_WORDS)
    counts = [_compared(words[max(at - 1, 0) : at + _COMPARED_WORDS], network) for at in steps]
    return np.concatenate([counts[0], *(part[1:] for part in counts[1:])])


def _compared(words: Sequence[str], network: Network) -> NDArray[np.int64]:
    """Returns the symbols of each word beyond the prefix that it shares with the word before."""
    counts = np.fromiter(map(network.symbol_count, words), np.int64, len(words))
    longest = max(1, int(counts.max()))
    codes = _word_codes(words, seq=longest) if network.reads_sentences else _letter_codes(words)
    counts[1:] -= (codes[1:] != codes[:-1]).argmax(axis=1)
    return counts


def _letter_codes(words: Sequence[str]) -> NDArray[np.uint32]:
    """Returns code points, 0 past a word's end: (words, seq)."""
    return np.array(words).view(np.uint32).reshape(len(words), -1)


def _word_codes(sentences: Sequence[str], *, seq: int) -> NDArray[np.int32]:
    """Returns a number for each distinct word, 0 past a sentence's end: (sentences, seq)."""
    codes = np.zeros((len(sentences), seq), np.int32)
    code_of: dict[str, int] = {}
    for row, sentence in zip(codes, sentences, strict=True):
        words = sentence.split()
        row[: len(words)] = [code_of.setdefault(word, len(code_of) + 1) for word in words]
    return codes
