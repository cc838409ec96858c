"""A checked request, and its encoded form."""

from dataclasses import dataclass, replace

from unrolled_client.network import DEFAULT_NETWORK, Network
from unrolled_client.results import Layout, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The arguments of one call, in types that the contract can carry.

    Attributes:
        words: In the order of the result.
        lengths: Number of symbols of each word.
        hidden_size: Units of each layer and direction.
        seed: As given; any that torch.manual_seed takes.
        alphabet: The symbols in one-hot order, given or derived; empty with word vectors.
        layout: Along which axis the network runs.
        network: The network's other options.
        initial_state: The state before the first symbol; None for zeros.
    """

    words: list[str]
    lengths: list[int]
    hidden_size: int
    seed: int
    alphabet: str
    layout: Layout
    network: Network = DEFAULT_NETWORK
    initial_state: State | None = None

    @property
    def hidden(self) -> int:
        """Width of the outputs, both directions together."""
        return (self.network.proj_size or self.hidden_size) * self.network.directions

    @property
    def batch(self) -> int:
        """Torch's batch size: the words, or with layout "seq_first" the letter positions."""
        return len(self.words) if self.layout == "batch_first" else max(self.lengths, default=0)

    @property
    def network_key(self) -> str:
        """Key of the network, by which load balancing chooses a replica."""
        return self.network.key(self.hidden_size, seed=self.seed, symbol_count=len(self.alphabet))

    def with_words(self, words: list[str]) -> "Request":
        """Returns the same request for other words."""
        return replace(self, words=words, lengths=list(map(self.network.symbol_count, words)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRequest:
    """A serialized ForwardRequest, and what its reply must match.

    Attributes:
        data: The message's bytes.
        request: What they ask.
        is_distinct: Whether the reply sends each distinct state once.
    """

    data: bytes
    request: Request
    is_distinct: bool = False
