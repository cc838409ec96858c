"""The synchronous client: build, call, decode."""

import math
from collections.abc import Generator, Iterable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

import grpc

from unrolled_client._messages.arguments import as_bool
from unrolled_client._messages.decoding import decode_reply, decode_server_info
from unrolled_client._messages.encoding import SERVER_INFO_REQUEST, Request, check_request
from unrolled_client._streaming.sizing import DEFAULT_MAX_IN_FLIGHT, encode_whole, is_bulk, may_be_bulk
from unrolled_client._transport.endpoint import (
    DEFAULT_TIMEOUT_S,
    FORWARD,
    GET_SERVER_INFO,
    ChannelOptions,
    Connection,
    RootCertificates,
    resolve_timeout_s,
)
from unrolled_client._transport.load_balancing import AboutNetwork, Spread
from unrolled_client._transport.pickling import CopiedByArguments
from unrolled_client._transport.target import NOT_GIVEN, Target
from unrolled_client.errors import UnrolledError
from unrolled_client.network import NetworkOptions
from unrolled_client.results import Layout, Limits, Outcome, Result, ServerInfo, StateLike

# What streams take is a sixth of this package's import time, so it is imported by the calls that need it.
if TYPE_CHECKING:
    from unrolled_client._streaming.exchange import Exchange
    from unrolled_client.session import Session


class Client(CopiedByArguments):
    """Calls an Unrolled server. One client serves any number of threads.

    It connects when it is first used, and again after a lost connection or in a forked child; calls that find
    no server are tried for about 1.5 s before they fail, and those that an overloaded server puts off are
    made again when it says, five times at most.

    Arguments have the types that their annotations name. numpy's bools, 0 and 1 are bools too, and numpy's
    integers are ints. None is the default of every argument that has one, except `target`. Anything else
    raises a TypeError that names the argument.

    Copies and pickles are made of its arguments and open connections of their own. A pickle holds the token
    and the private key in clear text. A client of `local` can be neither copied nor pickled.

    Every method that calls the server raises:
        InvalidRequestError, UnsupportedError, AuthenticationError: The request will not be answered.
        OverloadedError, UnavailableError, DeadlineError, CallCancelledError: Not now; see `is_retryable`.
        ServerError, ProtocolError: The server's fault.
        ClosedError: The client was closed, before the call or during it.
    """

    def __init__(  # noqa: PLR0913 - everything by name
        self,
        target: Target = NOT_GIVEN,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions | None = (),
        root_certificates: RootCertificates | None = None,
        private_key: bytes | None = None,
        certificate_chain: bytes | None = None,
        token: str | None = None,
        channels: int | None = 1,
        spread: Spread | None = None,
        tracing: bool | None = False,
    ) -> None:
        """Takes an address; nothing is sent yet.

        Args:
            target: HOST:PORT, unix:PATH or another name that gRPC resolves; for several replicas
                dns:///NAME:PORT, or ipv4:ADDRESS:PORT,ADDRESS:PORT. Default: the environment variable
                UNROLLED_TARGET, else localhost:50051. None is refused: a setting that is missing elsewhere
                would pass for it.
            timeout_s: Seconds that a call may take if it does not say itself; math.inf for no end.
            options: gRPC channel arguments; they override this package's own. A `grpc.service_config` has to
                bring its own retries, and its own policy where `spread` is given.
            root_certificates: Turns TLS on: PEM of the authorities that may vouch for the server, or
                "default" for the list that gRPC ships.
            private_key: PEM of this client's key, for servers that ask for one; with `certificate_chain`.
            certificate_chain: PEM of the certificate that belongs to `private_key`.
            token: Sent with every call as `authorization: Bearer ...`. Without TLS it is refused, except
                to loopback addresses and Unix sockets.
            channels: Connections to use in turn. More than one helps where each ends at one of several
                workers.
            spread: How calls are spread over the replicas that `target` names: "round_robin" asks them in
                turn, "network" asks each network's own, which then knows its states
                (docs/operate/load-balancing.md).
                None asks the first that answers.
            tracing: Makes an OpenTelemetry span for each call and stream, by the provider that the
                application has set up, and sends its context along; needs `pip install 'unrolled[otel]'`.

        Raises:
            TypeError: An argument has the wrong type.
            InvalidRequestError: `target` is malformed, `timeout_s` is not above 0, or the others do not go
                together.
        """
        super().__init__(
            target,
            timeout_s=timeout_s,
            options=options,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            token=token,
            channels=channels,
            spread=spread,
            tracing=tracing,
        )
        self._connection = Connection(self._endpoint)

    @classmethod
    def local(
        cls,
        *,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        options: ChannelOptions | None = (),
        start_timeout_s: float | None = 60.0,
        **server_settings: object,
    ) -> Self:
        """A client with a server of its own: a child process on a private Unix socket, ended by `close`.

        Args:
            timeout_s: As for `Client`.
            options: As for `Client`.
            start_timeout_s: Seconds that the server may take to be ready; it loads torch.
            **server_settings: The server's settings by the names of its flags, such as `max_words=100` or
                `vectors="glove=glove.txt"`; several tables are a list of these, or a dict of names and files.

        Raises:
            ServerExtraMissingError: The server's packages are not installed.
            LocalServerError: The server did not start; the message says what it wrote.
        """
        return cls._with_local_server(
            start_timeout_s=start_timeout_s, settings=server_settings, timeout_s=timeout_s, options=options
        )

    def forward(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_size: int,
        seed: int | None = 0,
        alphabet: str | None = None,
        layout: Layout | None = "batch_first",
        initial_state: StateLike | None = None,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Result:
        """Runs words through the network that `torch.manual_seed(seed)` would have drawn.

        Args:
            words: One or more words of one or more symbols (Unicode code points, never normalised). With
                `vectors` each is a sentence, and its symbols are its words.
            hidden_size: Units of the hidden state.
            seed: As for `torch.manual_seed`, from -2**63 to 2**64 - 1. Torch uses its low 32 bits.
            alphabet: The symbols in one-hot order. None derives it from the words by first appearance, so
                that a word's network depends on its neighbours: give it to compare across calls.
            layout: "batch_first" runs along each word; "seq_first" along the list of words, as torch's
                default layout would, and needs words of one length.
            initial_state: Where the words start: a result's `state`, or as torch takes it, an array h of
                shape (num_layers * directions, batch, hidden) or (h, c). None for zeros.
            timeout_s: Seconds that this call may take; math.inf for no end. Default: the client's.
            **network: `cell`, `num_layers`, `bidirectional`, `output` and the others of `NetworkOptions`.

        Returns:
            The states of every word at every symbol, (batch, seq, hidden), and what belongs to them.

        Raises:
            TypeError: There is no such argument, or one has the wrong type. `words` is a list, a column of
                a table or any other iterable of str; not one str, a table, a mapping or a set.
            UnrolledError: See the class.
        """
        request = check_request(
            words,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=network,
            initial_state=initial_state,
            call=Client.forward,
        )
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        if may_be_bulk(request) and is_bulk(request, limits := self._known_limits(limit_s)):
            return self._forward_in_parts(request, limits=limits, limit_s=limit_s)
        encoded = encode_whole(request)
        more = self._endpoint.arguments_about(request)
        return decode_reply(self._call(FORWARD, encoded.data, limit_s=limit_s, **more), encoded)

    def map(  # noqa: PLR0913 - the request's fields by name
        self,
        batches: Iterable[Iterable[str]],
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        layout: Layout | None = "batch_first",
        ordered: bool | None = True,
        on_error: Literal["raise", "return"] | None = "raise",
        progress: bool | None = False,
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Generator[Outcome, None, None]:
        """Runs many batches of words over one stream, with bounded work in flight.

        Nothing happens until the first outcome is asked for; then batches are taken from `batches`, in this
        thread, while there is room. Closing the generator cancels what is on its way.

        Args:
            batches: Lists of words, of any size each; a generator will do.
            hidden_size: As for `forward`, and so are `seed` and `layout`.
            alphabet: The symbols in one-hot order. It is required (but with `vectors`), because batches that
                each derived their own would run different networks; `derive_alphabet` makes one in a first
                pass over the words.
            seed: As for `forward`.
            layout: As for `forward`.
            ordered: Whether outcomes come in the order of `batches`, else as they are completed.
            on_error: "raise" ends with the first batch that fails; "return" has its error in its outcome.
            progress: Shows a bar on standard error if that is a terminal; needs rich.
            max_in_flight: Batches that may be taken and not handed out.
            timeout_s: Seconds for all batches together. Default: no end.
            **network: As for `forward`.

        Returns:
            An outcome a batch: its `index`, and its `result` or `error`.

        Raises:
            TypeError: There is no such argument, or one has the wrong type.
            InvalidRequestError: No alphabet, a `max_in_flight` below 1, or a timeout that is not above 0.
            UnrolledError: See the class; of a single batch only with on_error="raise".
        """
        from unrolled_client._streaming.calls import exchange_for_map, is_raising  # noqa: PLC0415
        from unrolled_client._streaming.driver import checked  # noqa: PLC0415 - see above

        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = exchange_for_map(
            batches,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            layout=layout,
            options=network,
            is_ordered=ordered,
            max_in_flight=max_in_flight,
            limits=partial(self._known_limits, limit_s),
            call=Client.map,
        )
        outcomes = checked(self._drive(exchange, timeout_s=limit_s), is_raising=is_raising(on_error))
        if not as_bool("progress", progress, default=False):
            return outcomes
        from unrolled_client._streaming.progress import with_progress  # noqa: PLC0415 - see above

        return with_progress(outcomes, batches=batches)

    def sweep(  # noqa: PLR0913 - the request's fields by name
        self,
        words: Iterable[str],
        *,
        hidden_sizes: Iterable[int],
        seeds: Iterable[int],
        alphabet: str | None = None,
        layout: Layout | None = "batch_first",
        max_in_flight: int | None = DEFAULT_MAX_IN_FLIGHT,
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> Generator[Result, None, None]:
        """Runs the same words through many networks over one stream, on which the words travel once.

        Networks are asked for when results are, with bounded work in flight. Words that are too many for one
        message travel in parts, and then again for each network.

        Args:
            words: As for `forward`, and so are `alphabet`, which is derived once, and `layout`.
            hidden_sizes: One or more; each is run with each seed.
            seeds: One or more.
            alphabet: See above.
            layout: See above.
            max_in_flight: Networks that may be asked for and not handed out.
            timeout_s: Seconds for all networks together. Default: no end.
            **network: As for `forward`; the same for all.

        Returns:
            A result a network, in the order of `itertools.product(hidden_sizes, seeds)`; each says which by
            its `hidden_size` and `seed`. The first that fails ends the sweep.

        Raises:
            TypeError: An argument has the wrong type.
            InvalidRequestError: No network, or a value that cannot be sent.
            UnrolledError: See the class.
        """
        from unrolled_client._streaming.calls import exchange_for_sweep  # noqa: PLC0415
        from unrolled_client._streaming.driver import results  # noqa: PLC0415 - see above

        limit_s = resolve_timeout_s(timeout_s, default_s=math.inf)
        exchange = exchange_for_sweep(
            words,
            hidden_sizes=hidden_sizes,
            seeds=seeds,
            alphabet=alphabet,
            layout=layout,
            options=network,
            max_in_flight=max_in_flight,
            limits=partial(self._known_limits, limit_s),
            call=Client.sweep,
        )
        return results(self._drive(exchange, timeout_s=limit_s))

    def session(  # noqa: PLR0913 - the request's fields by name
        self,
        *,
        hidden_size: int,
        alphabet: str | None = None,
        seed: int | None = 0,
        state: StateLike | None = None,
        layout: Layout | None = "batch_first",
        timeout_s: float | None = None,
        **network: Unpack[NetworkOptions],
    ) -> "Session":
        """Feeds long texts piece by piece, with the bits that one piece would give. Nothing is sent yet.

        Args:
            hidden_size: As for `forward`, and so are `seed` and `layout`, which has to be "batch_first".
            alphabet: The symbols in one-hot order. It is required (but with `vectors`), because pieces that
                each derived their own would run different networks.
            seed: See above.
            state: Where the texts start: the `state` of an earlier session, from wherever it was kept.
            layout: See above.
            timeout_s: Seconds that each piece may take; math.inf for no end. Default: the client's.
            **network: As for `forward`, in one direction, and with all states or the last as `output`.

        Raises:
            TypeError: There is no such option, or an argument has the wrong type.
            InvalidRequestError: No alphabet, what needs the whole text, or a state of another shape.
        """
        from unrolled_client.session import Session  # noqa: PLC0415 - see above

        return Session(
            self.forward,
            hidden_size=hidden_size,
            seed=seed,
            alphabet=alphabet,
            state=state,
            layout=layout,
            timeout_s=timeout_s,
            options=network,
            call=Client.session,
        )

    def server_info(self, *, timeout_s: float | None = None) -> ServerInfo:
        """What answers: device, limits, versions, fingerprint.

        Raises:
            UnrolledError: See the class.
        """
        limit_s = resolve_timeout_s(timeout_s, default_s=self._timeout_s)
        return decode_server_info(self._call(GET_SERVER_INFO, SERVER_INFO_REQUEST, limit_s=limit_s))

    def close(self) -> None:
        """Ends the connection and, after `local`, the server. Calls that wait raise ClosedError."""
        self._is_closed = True
        self._connection.close()
        if self._local_server is not None:
            self._local_server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, path: str, data: bytes, *, limit_s: float | None, **more: Any) -> bytes:
        try:
            return self._connection.unary(path)(data, timeout=limit_s, **more)
        except grpc.RpcError as error:
            if self._is_closed:
                raise self._closed() from None
            raise self._endpoint.error(error) from None
        except ValueError:
            if self._is_closed:  # gRPC's word for it
                raise self._closed() from None
            raise

    def _known_limits(self, limit_s: float | None) -> Limits:
        """Returns the server's limits, asked for once."""
        if self._limits is None:
            data = self._call(GET_SERVER_INFO, SERVER_INFO_REQUEST, limit_s=limit_s)
            self._limits = decode_server_info(data).limits
        return self._limits

    def _forward_in_parts(self, request: Request, *, limits: Limits, limit_s: float | None) -> Result:
        from unrolled_client._streaming.calls import exchange_for_parts  # noqa: PLC0415 - see above

        (outcome,) = self._drive(exchange_for_parts(request, limits=limits), timeout_s=limit_s)
        return outcome.result

    def _drive(self, exchange: "Exchange[Any]", *, timeout_s: float | None) -> Generator[Outcome, None, None]:
        from unrolled_client._streaming.driver import drive  # noqa: PLC0415 - see above

        open_stream = partial(self._open_stream, exchange)
        return drive(exchange, open_stream, timeout_s=timeout_s, as_error=self._stream_error)

    def _open_stream(self, asked: AboutNetwork, requests: Iterator[bytes], timeout_s: float | None) -> Any:
        from unrolled_client._streaming.driver import FORWARD_STREAM  # noqa: PLC0415 - see above

        try:
            more = self._endpoint.arguments_about(asked)
            return self._connection.stream(FORWARD_STREAM)(requests, timeout=timeout_s, **more)
        except ValueError:
            if self._is_closed:  # gRPC's word for it
                raise self._closed() from None
            raise

    def _stream_error(self, error: grpc.RpcError) -> UnrolledError:
        return self._closed() if self._is_closed else self._endpoint.error(error)
