"""What calls return: plain values that can be pickled and need no client."""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from unrolled_client._display.html import html_table
from unrolled_client._display.picture import Picture, describe, make_picture
from unrolled_client.network import DEFAULT_NETWORK, Network

if TYPE_CHECKING:
    from unrolled_client._display.drawing import Drawing

Layout: TypeAlias = Literal["batch_first", "seq_first"]
"""Meaning of the axes (batch, seq, hidden): with "batch_first" each word is a sequence; with "seq_first" the
network runs along the words, as torch's default layout would on the same array."""

OnError: TypeAlias = Literal["raise", "return"]
"""What `map` does with a batch's error: raises it, or returns it in the outcome."""

_SHOWN_SYMBOLS = 16
_SHOWN_LENGTHS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The server's share of a call's time; the requests of a batch share the computation."""

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


@dataclass(slots=True, kw_only=True, eq=False, repr=False)  # frozen ones take three times as long to make
class Result:
    """The hidden states of one call. `np.asarray(result)` is `outputs`.

    Attributes:
        outputs: float32 (batch, seq, hidden), C order, writable, owns its memory; zero past a word's end.
            (batch, hidden) if `output` is not "all". A bidirectional network's hidden axis has the forward
            states first. States that overflow float32, such as those of "relu" with a large
            `spectral_radius`, are inf and then NaN, as in torch.
        words: The words of the call.
        lengths: int64 (batch,), the symbols of each word; with `vectors` the words of each sentence.
        alphabet: The symbols in one-hot order, given or derived; empty with `vectors`.
        fingerprint: Servers with the same fingerprint answer with the same bits.
        state: Every layer's last states, if return_final_state was set.
    """

    outputs: NDArray[np.float32]
    words: tuple[str, ...]
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
        With layout "seq_first" batch is the letter positions. Raises ValueError if the outputs do not contain
        the states and return_final_state was not set.
        """
        if self.state is not None:
            return self.state.h
        if self.network.num_layers > 1 or self.network.is_pooled or 0 in self.lengths:
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

        Raises ValueError if return_final_state was not set.
        """
        if self.network.cell != "lstm":
            return None
        if self.state is None:
            raise ValueError("c_n was not sent; ask for it with return_final_state=True")
        return self.state.c

    def to_frame(self) -> Any:
        """Returns the outputs as a pandas.DataFrame with a column for each unit, h0 and so on.

        A row is a state, by its word, position and symbol (a MultiIndex); padding has none. If `output` is
        not "all", a row is a word. Needs pandas.
        """
        try:
            pandas = import_module("pandas")  # whose types not every environment has
        except ModuleNotFoundError as error:
            message = "to_frame() needs pandas: pip install pandas"
            raise ModuleNotFoundError(message, name=error.name) from None
        columns = [f"h{unit}" for unit in range(self.outputs.shape[-1])]
        if self.network.is_pooled:
            index = pandas.Index(self.words, name="word")
            return pandas.DataFrame(self.outputs.copy(), index=index, columns=columns)
        is_state = np.arange(self.outputs.shape[1]) < self.lengths[:, np.newaxis]
        words = np.repeat(np.array(self.words, object), self.lengths)
        symbols = [symbol for word in self.words for symbol in self.network.symbols(word)]
        levels = {"word": words, "position": np.nonzero(is_state)[1], "symbol": symbols}
        index = pandas.MultiIndex.from_arrays(list(levels.values()), names=list(levels))
        return pandas.DataFrame(self.outputs[is_state], index=index, columns=columns)

    def plot(self) -> "Drawing":
        """Returns the states drawn as by the command `unrolled plot`, as a matplotlib Figure.

        A notebook shows the figure; `savefig` writes it to a file. Of many words it draws the first ones, and
        its title says how many. pyplot does not know it, so it needs no closing. Needs `unrolled[plot]`.
        """
        try:
            from unrolled_client._display.drawing import draw  # noqa: PLC0415 - loads matplotlib, an extra
        except ModuleNotFoundError as error:
            message = "plot() needs matplotlib: pip install 'unrolled[plot]'"
            raise ModuleNotFoundError(message, name=error.name) from None
        return draw(picture_of(self))

    def _repr_html_(self) -> str:
        axes = "(batch, hidden)" if self.network.is_pooled else "(batch, seq, hidden)"
        title = _title(self, alphabet=self.alphabet)
        caption = [f"{axes} = {self.outputs.shape}", title, f"fingerprint {self.fingerprint}"]
        return html_table(
            self.outputs, words=self.words, lengths=self.lengths, network=self.network, caption=caption
        )

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


def picture_of(result: Result) -> Picture:
    """Returns what a drawing of the result shows; its title omits an alphabet that the words show."""
    is_derived = result.alphabet == "".join(dict.fromkeys("".join(result.words)))
    return make_picture(
        result.outputs,
        words=result.words,
        lengths=result.lengths,
        network=result.network,
        title=_title(result, alphabet="" if is_derived else result.alphabet),
    )


def _title(result: Result, *, alphabet: str) -> str:
    """Returns what makes the network another one, without what is empty or at its default."""
    layout = "" if result.layout == "batch_first" else result.layout
    given = {name: text for name, text in (("layout", layout), ("alphabet", alphabet)) if text}
    return describe(result.network, hidden_size=result.hidden_size, seed=result.seed, **given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of the batch at position `index` of the input of `map`: its result or its error."""

    index: int
    value: Result | None = None
    error: Exception | None = None

    @property
    def result(self) -> Result:
        """The batch's result; if it failed, raises `error`, a TypeError if it is not a list of words."""
        if self.value is None:
            raise self.error or ValueError("an Outcome has a value or an error")
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server for one request; lengths and sizes count symbols (code points) and units."""

    max_words: int
    max_word_length: int
    max_hidden_size: int
    max_alphabet_size: int
    max_request_bytes: int
    max_reply_bytes: int  # of the array in one reply message


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """A table of word vectors of `size` values each; `vectors=` takes its name.

    Tables with the same digest give the same states.
    """

    name: str
    word_count: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server's description of itself, with torch's name of its device, such as "cpu".

    Servers with the same fingerprint answer with the same bits, whatever the `instruction_set` of their CPUs.
    """

    version: str
    torch_version: str
    device: str
    fingerprint: str
    limits: Limits
    vectors: tuple[Vectors, ...] = ()
    instruction_set: str = ""
