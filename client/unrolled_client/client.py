"""The synchronous client."""

from __future__ import annotations  # help() then shows the short names of types

# ruff: noqa: TC001, TC003 - get_type_hints needs the types at run time
import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, Never, Self

import grpc

from unrolled_client._messages.arguments import as_bool, resolve_timeout_s
from unrolled_client._messages.decoding import decode_local, decode_reply, decode_server_info
from unrolled_client._messages.request import FORWARD, FORWARD_STREAM, GET_SERVER_INFO
from unrolled_client._messages.validation import check_request
from unrolled_client._streaming import calls
from unrolled_client._streaming.driver import drive
from unrolled_client._streaming.exchange import Exchange
from unrolled_client._streaming.local_driver import drive_locally
from unrolled_client._streaming.progress import progress_bar
from unrolled_client._streaming.sizing import DEFAULT_MAX_IN_FLIGHT, encode_whole, is_bulk, may_be_bulk
from unrolled_client._transport.base_client import BaseClient
from unrolled_client._transport.connection import Connection
from unrolled_client._transport.endpoint import Metadata
from unrolled_client.network import (
    Cell,
    Nonlinearity,
    OnEmpty,
    Output,
    UnknownSymbol,
    UnknownWord,
    options_in,
)
from unrolled_client.results import Layout, Limits, OnError, Outcome, Result, ServerInfo, StateLike
from unrolled_client.session import Session


class Client(BaseClient):
    """Calls an Unrolled server or, after `local`, computes in this process. Thread-safe.

    It connects on first use, and again after a lost connection or in a forked child. It retries a call up to
    four times: for about 1.5 s if no server answers, or when an overloaded server says.

    bools may be numpy's, 0 or 1, and ints numpy's integers; None is the default of every argument that has
    one, except `target`. A pickle contains the arguments, token and private key in clear text; copies open
    their own connections.

    Every method that calls the server raises an `UnrolledError`; its `is_retryable` says whether a retry may
    help. `ClosedError` means that the client was closed before or during the call.
    """

    def _prepare(self) -> None:
        self._connection = Connection(self._endpoint)

    def forward(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_size: int,
        seed: int | None = 0,
        alphabet: str | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        initial_state: StateLike | None = None,
        timeout_s: float | None = None,
        progress: bool | None = False,
        **unknown: Never,
    ) -> Result:
        """Runs words through the network that `torch.manual_seed(seed)` draws.

        A call of more than 1 MiB of outputs or 1,024 words may have to travel in parts, so the client's first
        such call asks the server for its limits (GetServerInfo).

        Args:
            words: A list, column or other iterable of one or more words of one or more symbols (Unicode code
                points, never normalised). With `vectors` each is a sentence, and its symbols are its words.
            hidden_size: Units of the hidden state.
            seed: As for `torch.manual_seed`, from -2**63 to 2**64 - 1. Torch uses its low 32 bits.
            alphabet: The symbols in one-hot order. None derives it from all words, by first appearance; pass
                one to compare results of different calls.
            cell: "rnn", "lstm" or "gru", as torch.nn.RNN, LSTM and GRU.
            nonlinearity: Activation of the cell "rnn": "tanh" or "relu".
            num_layers: Number of stacked layers.
            bidirectional: Whether each layer also reads each word backward; states are then twice as wide,
                forward direction first.
            bias: Whether the layers have biases.
            proj_size: Size that an LSTM's state is projected to; 0 for no projection.
            spectral_radius: Scales each recurrent matrix (or each gate's part of it) so that its largest
                absolute eigenvalue is this, above 0; for echo-state networks. None: weights as drawn.
            leak_rate: Leaky integration of the cell "rnn", above 0 and up to 1: each state is
                (1 - leak_rate) * the state before + leak_rate * what torch computes. None is 1.
            input_scaling: Multiplies the input weights of the cell "rnn", above 0. None is 1.
            density: Fraction of the recurrent weights of the cell "rnn" that are not 0, above 0 and up to 1;
                which ones is drawn after torch's parameters. None is 1.
            embedding_size: Size of a torch.nn.Embedding of the alphabet, drawn from the same seed before the
                network. None feeds one-hot symbols.
            word_embedding_size: Size of random word vectors, each of which depends on the seed and its word
                only. Each entry of `words` is then a sentence, and its symbols are its words, as
                `str.split()` returns them; see `tokenize`.
            vectors: Name of one of the server's tables of word vectors; entries of `words` are sentences,
                too.
            unknown_word: With `vectors` only: what a word without a vector gets, which is "zero", the zero
                vector, "mean", the table's mean, or "error", an error for the call. None is "error".
            unknown_symbol: What happens to a letter that is not in `alphabet`: "skip" leaves it out, "zero"
                takes a step with the zero vector, "error" is an error for the call. None is "error".
            on_empty: What happens to a word without symbols, or none that are left: "zero" makes its outputs
                zeros and its final state the initial one, "error" is an error for the call. None is "error".
            truncate: Whether words with more symbols than the server allows are cut there, else an error.
            output: "all" states of the last layer, or one vector per word: its "last" state, or the "mean"
                or "max" of its states. With `bidirectional` the backward half of "last" has read only the
                last symbol, as in torch; that of `return_final_state` has read the whole word.
            return_final_state: Whether the result has every layer's last states, `h_n` and `c_n`.
            layout: "batch_first" runs along each word; "seq_first" along the list of words, as torch's
                default layout would, and needs words of one length.
            initial_state: A result's `state`, or as torch takes it, an array h of shape
                (num_layers * directions, batch, hidden) or (h, c). None for zeros.
            timeout_s: Seconds that this call may take, or for a call in parts the longest time without a
                reply; math.inf for no deadline. Default: the client's.
            progress: Shows a bar for a call in parts on standard error if that is a terminal; needs rich.
            **unknown: Not allowed; the error names the nearest argument.

        Returns:
            The states of every word at every symbol, (batch, seq, hidden), and their metadata.

        Raises:
            TypeError: There is no such argument, or one has the wrong type, such as one str for `words`.
            UnrolledError: See the class.
        """
        request = check_request(
            words,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            initial_state=initial_state,
            is_local=self._in_process is not None,
            call=Client.forward,
        )
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        has_bar = as_bool("progress", progress, default=False)
        self._note_alphabet(request)
        if request.network.truncate:
            request = request.truncated(self._known_limits(limit_s).max_word_length)
        if may_be_bulk(request) and is_bulk(request, limits := self._known_limits(limit_s)):
            with progress_bar("words", total=len(request.words), is_wanted=has_bar) as advance:
                exchange = calls.exchange_for_parts(request, limits=limits, advance=advance)
                (outcome,) = self._drive(exchange, timeout_s=limit_s)
            return outcome.result
        encoded = encode_whole(request)
        if self._in_process is not None:
            return decode_local(self._in_process.answer(encoded, timeout_s=limit_s), encoded)
        metadata = self._endpoint.metadata_for(request)
        return decode_reply(self._call(FORWARD, encoded.data, timeout_s=limit_s, metadata=metadata), encoded)

    def map(  # noqa: PLR0913 - the request's fields by name
        self,
        batches: Iterable[Iterable[str]],
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        ordered: bool | None = True,
        on_error: OnError | None = "raise",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> Generator[Outcome, None, None]:
        """Runs many batches of words over one stream, with a bounded number in flight.

        Yields one outcome per batch: its `index`, and its `result` or `error`. The generator takes batches in
        the caller's thread when it is asked for an outcome; closing it cancels what is in flight.

        Arguments other than those of `forward`:
            batches: Lists of words, of any size each; a generator is fine.
            alphabet: The symbols in one-hot order, required unless `vectors` is set: batches that derived
                their own would run different networks. `derive_alphabet` makes one from all words.
            ordered: Whether outcomes come in the order of `batches`, else in order of completion.
            on_error: "raise" raises the first batch's error; "return" puts errors into the outcomes.
            progress: Shows a bar on standard error if that is a terminal; needs rich.
            max_in_flight: Batches that may be taken and not yielded.
            timeout_s: The longest time without a reply or a new batch. Default: no deadline.

        Raises:
            TypeError: There is no such argument, or one has the wrong type.
            InvalidRequestError: No alphabet, a `max_in_flight` below 1, or a timeout that is not above 0.
            UnrolledError: See the class; for a single batch only with on_error="raise".
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = calls.exchange_for_map(
            batches,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            is_ordered=ordered,
            max_in_flight=max_in_flight,
            limits=partial(self._known_limits, limit_s),
            is_local=self._in_process is not None,
            call=Client.map,
        )
        stops_at_error = calls.is_raising(on_error)
        has_bar = as_bool("progress", progress, default=False)
        bar = progress_bar("batches", total=exchange.batch_count, is_wanted=has_bar)

        def outcomes() -> Generator[Outcome, None, None]:
            with bar as advance, closing(self._drive(exchange, timeout_s=limit_s)) as driven:
                for outcome in driven:
                    if stops_at_error and outcome.error is not None:
                        raise outcome.error
                    advance(1)
                    yield outcome

        return outcomes()

    def sweep(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_sizes: Iterable[int],
        seeds: Iterable[int],
        alphabet: str | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> Generator[Result, None, None]:
        """Runs the same words through many networks over one stream, which carries the words once.

        Yields one result per network, in the order of `itertools.product(hidden_sizes, seeds)`, until one
        fails. Words that are too many for one message travel in parts, and again for each network.

        Arguments other than those of `forward`:
            hidden_sizes, seeds: One or more of each; every size runs with every seed.
            max_in_flight: Networks that may be requested and not yielded.
            timeout_s: The longest time without a reply. Default: no deadline.

        Raises:
            TypeError: An argument has the wrong type.
            UnrolledError: See the class.
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = calls.exchange_for_sweep(
            words,
            hidden_sizes=hidden_sizes,
            seeds=seeds,
            alphabet=alphabet,
            layout=layout,
            options=options_in(locals()),
            max_in_flight=max_in_flight,
            limits=partial(self._known_limits, limit_s),
            is_local=self._in_process is not None,
            note_alphabet=partial(self._note_alphabet, stacklevel=4),
            call=Client.sweep,
        )
        has_bar = as_bool("progress", progress, default=False)
        bar = progress_bar("networks", total=exchange.batch_count, is_wanted=has_bar)

        def results() -> Generator[Result, None, None]:
            with bar as advance, closing(self._drive(exchange, timeout_s=limit_s)) as driven:
                for outcome in driven:
                    advance(1)
                    yield outcome.result

        return results()

    def session(  # noqa: PLR0913 - the request's fields by name
        self,
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        state: StateLike | None = None,
        cell: Cell | None = "rnn",
        nonlinearity: Nonlinearity | None = "tanh",
        num_layers: int | None = 1,
        bidirectional: bool | None = False,
        bias: bool | None = True,
        proj_size: int | None = 0,
        spectral_radius: float | None = None,
        leak_rate: float | None = None,
        input_scaling: float | None = None,
        density: float | None = None,
        embedding_size: int | None = None,
        word_embedding_size: int | None = None,
        vectors: str | None = None,
        unknown_word: UnknownWord | None = None,
        unknown_symbol: UnknownSymbol | None = None,
        on_empty: OnEmpty | None = None,
        truncate: bool | None = False,
        output: Output | None = "all",
        return_final_state: bool | None = False,
        layout: Layout | None = "batch_first",
        timeout_s: float | None = None,
        **unknown: Never,
    ) -> Session:
        """Returns a session that feeds long texts piece by piece, with the bits that one piece would give.

        The arguments are those of `forward`, but the network cannot be bidirectional, `layout` is
        "batch_first", `output` is "all" or "last", `timeout_s` is for each piece, and `alphabet` is required
        as for `map`. `state` is the initial state, such as the `state` of an earlier session. Every piece's
        result has final states, whatever `return_final_state` says.

        Raises:
            TypeError: There is no such option, or an argument has the wrong type.
            InvalidRequestError: No alphabet, an option that needs the whole text, or a wrong state.
        """
        return Session(
            self.forward,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            state=state,
            layout=layout,
            timeout_s=timeout_s,
            options=options_in(locals()),
            call=Client.session,
        )

    def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """Returns the server's device, limits, versions and fingerprint."""
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        if self._in_process is not None:
            return self._in_process.server_info()
        metadata = self._endpoint.metadata
        return decode_server_info(self._call(GET_SERVER_INFO, b"", timeout_s=limit_s, metadata=metadata))

    def close(self) -> None:
        """Closes the connections or, after `local`, stops computing. Waiting calls raise ClosedError."""
        self._is_closed = True
        self._connection.close()
        if self._in_process is not None:
            self._in_process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _call(self, path: str, data: bytes, *, timeout_s: float | None, metadata: Metadata | None) -> bytes:
        try:
            return self._connection.call(path, data, timeout_s=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise self._error(error) from None
        except ValueError as error:  # gRPC's error for a closed channel
            raise (self._closed() if self._is_closed else error) from None

    def _known_limits(self, limit_s: float | None) -> Limits:
        """Returns the server's limits; asks for them once."""
        if self._limits is None:
            self._limits = self.server_info(timeout_s=math.inf if limit_s is None else limit_s).limits
        return self._limits

    def _drive(self, exchange: Exchange[Any], *, timeout_s: float | None) -> Generator[Outcome, None, None]:
        if self._in_process is not None:
            return drive_locally(exchange, partial(self._in_process.answer, timeout_s=timeout_s))

        def open_stream(requests: Iterator[bytes]) -> Any:
            metadata = self._endpoint.metadata_for(exchange)
            try:
                return self._connection.open_stream(FORWARD_STREAM, requests, metadata=metadata)
            except ValueError as error:  # gRPC's error for a closed channel
                raise (self._closed() if self._is_closed else error) from None

        return drive(exchange, open_stream, timeout_s=timeout_s, as_error=self._error)
