"""What calls return: values without a connection, which pickle and outlive their client."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from unrolled_client.network import DEFAULT_NETWORK, Network

Layout: TypeAlias = Literal["batch_first", "seq_first"]
"""What the axes (batch, seq, hidden) mean: with "batch_first" each word is a sequence; with "seq_first"
the array is handed to torch's default layout, which recurs along the words."""

_SHOWN_SYMBOLS = 16
_SHOWN_LENGTHS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where a call's time went on the server.

    Attributes:
        queue_s: Seconds from arrival until computing began.
        compute_s: Seconds of computing, shared by all requests that were computed together.
    """

    queue_s: float
    compute_s: float


class State(NamedTuple):
    """A network's state at one point of every sequence, as torch returns and takes it.

    A direction's state is the one after the last symbol that it reads; with layout "seq_first" batch is the
    letter positions.

    Attributes:
        h: float32 (num_layers * directions, batch, hidden), each layer's forward direction before its
            backward one.
        c: float32 (num_layers * directions, batch, hidden_size) of an LSTM; else None.
        network_digest: Names exactly the network that they belong to; a server refuses to start another
            from them. Empty skips that check.
    """

    h: NDArray[np.float32]
    c: NDArray[np.float32] | None
    network_digest: str = ""


StateLike: TypeAlias = State | ArrayLike | tuple[ArrayLike, ArrayLike | None]
"""A state as results give it, or as torch takes it: an array h, or (h, c)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Result:
    """The hidden states of one call. `np.asarray(result)` is `outputs`.

    Attributes:
        outputs: float32 (batch, seq, hidden), C order, writable, owns its memory. Positions past a word's
            end are zero. With another output than "all" it is (batch, hidden). Of a bidirectional network
            hidden is both directions' states, forward first. States that overflow float32, such as those of
            "relu" with a large `spectral_radius`, are inf and then NaN, as in torch.
        lengths: int64 (batch,), the symbols of each word; with `vectors` the words of each sentence.
        hidden_size: Units of each layer and direction.
        seed: What the network was drawn from.
        alphabet: The symbols in one-hot order, given or derived; its length is the network's input size.
            Empty with `vectors`.
        layout: Along which axis the network ran.
        timing: Seconds on the server.
        fingerprint: Servers of one fingerprint answer with the same bits.
        network: The kind of network, and what was asked of it.
        state: Every layer's last states, if return_final_state asked for them.
    """

    outputs: NDArray[np.float32]
    lengths: NDArray[np.int64]
    hidden_size: int
    seed: int
    alphabet: str
    layout: Layout
    timing: Timing
    fingerprint: str
    network: Network = DEFAULT_NETWORK
    state: State | None = None

    @property
    def h_n(self) -> NDArray[np.float32]:
        """The last states as torch returns them, a float32 array of its own.

        (num_layers * directions, batch, hidden): the forward direction's at each word's end, the backward
        one's at its start. With layout "seq_first" torch's batch is the letter positions, and it is
        (num_layers * directions, seq, hidden): the states at the last word, and at the first.

        Raises:
            ValueError: The outputs do not tell, and return_final_state did not ask.
        """
        if self.state is not None:
            return self.state.h
        if self.network.num_layers > 1 or self.network.is_pooled:
            raise ValueError("h_n is not among these outputs; ask for it with return_final_state=True")
        if self.layout == "seq_first":
            first, last = self.outputs[0], self.outputs[-1]
        else:
            first, last = self.outputs[:, 0], self.outputs[np.arange(len(self.lengths)), self.lengths - 1]
        hidden = self.outputs.shape[-1] // self.network.directions
        ends = [last[:, :hidden], first[:, hidden:]]
        return np.stack(ends[: self.network.directions])

    @property
    def c_n(self) -> NDArray[np.float32] | None:
        """An LSTM's last cell states as torch returns them; else None.

        They are (num_layers * directions, batch, hidden_size).

        Raises:
            ValueError: return_final_state did not ask for them.
        """
        if self.network.cell != "lstm":
            return None
        if self.state is None:
            raise ValueError("c_n was not sent; ask for it with return_final_state=True")
        return self.state.c

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:  # noqa: FBT001
        if copy is None:  # numpy 1 does not take None below
            return np.asarray(self.outputs, dtype=dtype)
        return np.array(self.outputs, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        symbols = self.alphabet[:_SHOWN_SYMBOLS] + "…" * (len(self.alphabet) > _SHOWN_SYMBOLS)
        lengths = ", ".join(map(str, self.lengths[:_SHOWN_LENGTHS].tolist()))
        lengths += ", …" * (len(self.lengths) > _SHOWN_LENGTHS)
        return (
            f"Result(outputs=float32{self.outputs.shape}, lengths=[{lengths}], "
            f"hidden_size={self.hidden_size}, seed={self.seed}, alphabet={symbols!r}, "
            f"layout={self.layout!r}, fingerprint={self.fingerprint!r})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one batch of `map`.

    Attributes:
        index: The batch's place in the input, from 0.
        value: Its result; None if it failed.
        error: Why it failed; None if it did not.
    """

    index: int
    value: Result | None = None
    error: Exception | None = None

    @property
    def result(self) -> Result:
        """The batch's result.

        Raises:
            UnrolledError: The batch failed; this is `error`.
            TypeError: The batch is no list of words.
        """
        if self.value is None:
            raise self.error or ValueError("an Outcome has a value or an error")
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server accepts; counts of words, symbols (code points) and units, bytes of one message.

    Attributes:
        max_words: Words in one request.
        max_word_length: Symbols in one word.
        max_hidden_size: Units of the hidden state.
        max_alphabet_size: Symbols of the alphabet, given or derived.
        max_request_bytes: Bytes of one request message.
        max_reply_bytes: Bytes of the array in one reply message.
    """

    max_words: int
    max_word_length: int
    max_hidden_size: int
    max_alphabet_size: int
    max_request_bytes: int
    max_reply_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """A table of word vectors that a server has loaded.

    Attributes:
        name: What `vectors=` takes.
        word_count: Words in it.
        size: Values in each vector.
        digest: Tables of one digest give the same states.
    """

    name: str
    word_count: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What answers at the other end.

    Attributes:
        version: Of the server's package.
        torch_version: Of the torch that computes.
        device: Where it computes, in torch's words, such as "cpu".
        fingerprint: Servers of one fingerprint answer with the same bits.
        limits: What it accepts.
        vectors: The tables of word vectors that calls may name.
    """

    version: str
    torch_version: str
    device: str
    fingerprint: str
    limits: Limits
    vectors: tuple[Vectors, ...] = ()
