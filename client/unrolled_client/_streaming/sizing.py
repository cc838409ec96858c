"""How a call travels: as one request or in parts, and in which form its reply comes.

It is a file of its own because it knows neither a connection nor a clock: the synchronous and the
asynchronous client choose alike.
"""

from collections.abc import Callable
from typing import Protocol, TypeVar

from unrolled.v1.wire import SplitReply

from unrolled_client._messages.decoding import decode_split
from unrolled_client._messages.encoding import EncodedRequest, Request, encode, refuse_surrogates
from unrolled_client.errors import UnrolledError
from unrolled_client.results import Limits, Result

# Which of these were measured, and how, is told in docs/architecture.md.
MAX_WHOLE_BYTES = 24 << 20
"""Bytes of a call's arrays up to which it travels as one request, if the server allows as many."""
DEFAULT_MAX_IN_FLIGHT = 32
"""Batches that `map` takes, or networks that `sweep` asks, before the first is handed out."""
MIN_BULK_BYTES = 1 << 20
"""Bytes of a call's arrays up to which any server is taken to allow them."""
MIN_BULK_WORDS = 1_024
"""The same for words."""
MAX_PART_WORDS = 4_096
"""Words in one request, unless the server allows less."""
MIN_DISTINCT_BYTES = 512 << 10
"""Bytes of a dense array from which the distinct form is worth the look at the words."""
MAX_DISTINCT_SHARE = 0.6
"""Bytes of the distinct form, to one of the dense form, up to which fewer bytes pay for the gather."""
FLOAT_BYTES = 4
INDEX_BYTES = 4
MAX_LETTER_BYTES = 4

_Error = TypeVar("_Error", bound=UnrolledError)


class Assembly(Protocol):
    """One call as requests, and its result out of their replies, which come in any order.

    Attributes:
        part_count: Requests, 1 or more.
    """

    part_count: int

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:
        """Request number `at`, to be sent next; it may be asked for again after a broken stream."""

    def reply_bytes(self, at: int) -> int:
        """Bytes of its reply, about."""

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:
        """Takes its reply; ProtocolError if that is none."""

    def renamed(self, at: int, error: _Error) -> _Error:
        """The server's refusal of it, with the words' indices as the caller knows them."""

    def result(self) -> Result:
        """What came of it, once every part has its reply."""


def assemble(request: Request, *, limits: Limits) -> Assembly:
    """The call as one request, or in parts if one would be too large.

    Raises:
        InvalidRequestError: A text that the contract cannot carry.
    """
    refuse_surrogates(request.words, request.alphabet)
    if not is_bulk(request, limits):
        return Whole(request)
    from unrolled_client._streaming.parts import InParts  # noqa: PLC0415 - most processes make no such call

    return InParts(request, limits=limits)


def may_be_bulk(request: Request) -> bool:
    """Whether it takes a look at the server's limits to tell whether a call travels in parts."""
    is_large = message_bytes(request) > MIN_BULK_BYTES or len(request.words) > MIN_BULK_WORDS
    return is_large and request.layout == "batch_first"


def is_bulk(request: Request, limits: Limits) -> bool:
    """Whether a call travels in parts; with the layout seq_first its words depend on each other."""
    is_large = message_bytes(request) > min(MAX_WHOLE_BYTES, limits.max_reply_bytes) or len(
        request.words
    ) > min(MAX_PART_WORDS, limits.max_words)
    return is_large and request.layout == "batch_first" and request.hidden_size > 0


def dense_bytes(request: Request) -> int:
    """Bytes of the dense array of all states; that of a pooled output is smaller, its work is not."""
    return len(request.words) * max(request.lengths, default=0) * request.hidden * FLOAT_BYTES


def message_bytes(request: Request) -> int:
    """Bytes of what is large in a call's messages, about, were it one request."""
    size = dense_bytes(request) + len(request.words) * state_bytes(request)
    if request.network.vectors is not None:  # sentences may outweigh what is made of them
        size = max(size, MAX_LETTER_BYTES * sum(map(len, request.words)))
    return size


def state_bytes(request: Request) -> int:
    """Bytes of one word's initial or final state, if the call has either."""
    network = request.network
    if not network.return_final_state and request.initial_state is None:
        return 0
    width = (network.proj_size or request.hidden_size) + request.hidden_size * (network.cell == "lstm")
    return network.num_layers * network.directions * width * FLOAT_BYTES


def encode_whole(request: Request, *, request_id: str = "") -> EncodedRequest:
    """A call as one request, in the form of reply that costs less."""
    return encode(request, is_distinct=prefers_distinct(request), request_id=request_id)


def prefers_distinct(request: Request, *, count_states: Callable[[], int] | None = None) -> bool:
    """Whether its reply costs less with each distinct state once; `count_states` may know their number."""
    size = dense_bytes(request)
    if size < MIN_DISTINCT_BYTES or not may_share(request):
        return False
    row_count = 1 + (distinct_state_count(request) if count_states is None else count_states())
    index_bytes = len(request.words) * max(request.lengths) * INDEX_BYTES
    return row_count * request.hidden * FLOAT_BYTES + index_bytes <= size * MAX_DISTINCT_SHARE


def distinct_state_count(request: Request) -> int:
    """The distinct states of its words, about."""
    from unrolled_client._streaming.prefix_sharing import new_state_counts, sorted_for_sharing  # noqa: PLC0415 - as above

    words = sorted_for_sharing(request.words, request.network)
    return int(new_state_counts(words, request.network).sum())


def may_share(request: Request) -> bool:
    """Whether words of one call can have states in common, and its reply can say so."""
    is_from_zeros = request.initial_state is None  # else each word starts somewhere else
    return request.layout == "batch_first" and not request.network.is_pooled and is_from_zeros


class Whole:
    """A call that travels as one request."""

    part_count = 1

    def __init__(self, request: Request) -> None:
        self._request = request
        self._result: Result | None = None

    def encode(self, at: int, *, request_id: str) -> EncodedRequest:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        return encode_whole(self._request, request_id=request_id)

    def reply_bytes(self, at: int) -> int:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        return message_bytes(self._request)

    def place(self, at: int, reply: SplitReply, *, request: EncodedRequest) -> None:  # noqa: ARG002 - Assembly's signature
        """See Assembly."""
        self._result = decode_split(reply, request)

    def renamed(self, at: int, error: _Error) -> _Error:  # noqa: ARG002 - Assembly's signature
        """See Assembly; the indices are the caller's already."""
        return error

    def result(self) -> Result:
        """See Assembly."""
        assert self._result is not None  # noqa: S101 - the contract of Assembly
        return self._result
