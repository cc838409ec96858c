"""What calls return: plain values that can be pickled and need no client."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from unrolled_client.network import DEFAULT_NETWORK, Network

Layout: TypeAlias = Literal["batch_first", "seq_first"]
"""Meaning of the axes (batch, seq, hidden): with "batch_first" each word is a sequence; with "seq_first" the
network runs along the words, as torch's default layout would on the same array."""

_SHOWN_SYMBOLS = 16
_SHOWN_LENGTHS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The server's share of a call's time.

    Attributes:
        queue_s: Seconds from arrival to the start of the computation.
        compute_s: Seconds of computation, shared by all requests of a batch.
    """

    queue_s: float
    compute_s: float


class State(NamedTuple):
    """A network's state after the last symbol that each direction reads, in torch's layout.

    With layout "seq_first" batch is the letter positions.

    Attributes:
        h: float32 (num_layers * directions, batch, hidden), each layer's forward direction before its
            backward one.
        c: float32 (num_layers * directions, batch, hidden_size) of an LSTM; else None.
        network_digest: Identifies the network; a server refuses to start another one from this state. Empty
            skips the check.
    """

    h: NDArray[np.float32]
    c: NDArray[np.float32] | None
    network_digest: str = ""


StateLike: TypeAlias = State | ArrayLike | tuple[ArrayLike, ArrayLike | None]
"""A state of a result, or as torch takes it: an array h, or (h, c)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Result:
    """The hidden states of one call. `np.asarray(result)` is `outputs`.

    Attributes:
        outputs: float32 (batch, seq, hidden), C order, writable, owns its memory; zero past a word's end.
            (batch, hidden) if `output` is not "all". A bidirectional network's hidden axis has the forward
            states first. States that overflow float32, such as those of "relu" with a large
            `spectral_radius`, are inf and then NaN, as in torch.
        lengths: int64 (batch,), the symbols of each word; with `vectors` the words of each sentence.
        hidden_size: Units of each layer and direction.
        seed: The seed that the network was drawn from.
        alphabet: The symbols in one-hot order, given or derived; empty with `vectors`.
        layout: The axis along which the network ran.
        timing: Seconds on the server.
        fingerprint: Servers with the same fingerprint answer with the same bits.
        network: The network's options.
        state: Every layer's last states, if return_final_state was set.
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
        """The last states as torch returns them: float32 (num_layers * directions, batch, hidden), a copy.

        The forward direction's state is the one at each word's end, the backward direction's at its start.
        With layout "seq_first" batch is the letter positions.

        Raises:
            ValueError: The outputs do not contain them, and return_final_state was not set.
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
        """An LSTM's last cell states, (num_layers * directions, batch, hidden_size); else None.

        Raises:
            ValueError: return_final_state was not set.
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
    """The outcome of one batch of `map`.

    Attributes:
        index: The batch's position in the input, from 0.
        value: Its result; None if it failed.
        error: Its error; None if it succeeded.
    """

    index: int
    value: Result | None = None
    error: Exception | None = None

    @property
    def result(self) -> Result:
        """The batch's result.

        Raises:
            UnrolledError: The batch failed; this is `error`.
            TypeError: The batch is not a list of words.
        """
        if self.value is None:
            raise self.error or ValueError("an Outcome has a value or an error")
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server for one request; lengths and sizes count symbols (code points) and units.

    Attributes:
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
        name: The value for `vectors=`.
        word_count: Number of its words.
        size: Number of values in each vector.
        digest: Tables with the same digest give the same states.
    """

    name: str
    word_count: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server's description of itself.

    Attributes:
        version: Version of the server's package.
        torch_version: Version of torch.
        device: torch's name of the device that computes, such as "cpu".
        fingerprint: Servers with the same fingerprint answer with the same bits.
        limits: Its limits for one request.
        vectors: Its tables of word vectors.
    """

    version: str
    torch_version: str
    device: str
    fingerprint: str
    limits: Limits
    vectors: tuple[Vectors, ...] = ()
