"""From a request's bytes to a job: the one place where a request's values are judged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from unrolled.v1 import forward_pb2 as pb

from unrolled_server.capabilities import refuse_unknown_fields, refuse_unsupported, unknown_fields
from unrolled_server.config import Limits
from unrolled_server.engine import (
    Alphabet,
    DuplicateSymbolError,
    EncodedWords,
    Job,
    Layout,
    NetworkSpec,
    ReplyForm,
    UnknownSymbolError,
)
from unrolled_server.errors import InvalidRequestError, Violation
from unrolled_server.networks import OUTPUTS, network_violations, spec_of, weight_violations

MAX_ID_BYTES = 128
LAYOUTS = {
    pb.LAYOUT_UNSPECIFIED: Layout.BATCH_FIRST,
    pb.LAYOUT_BATCH_FIRST: Layout.BATCH_FIRST,
    pb.LAYOUT_SEQ_FIRST: Layout.SEQ_FIRST,
}
FORMS = {
    pb.REPLY_FORM_UNSPECIFIED: ReplyForm.DENSE,
    pb.REPLY_FORM_DENSE: ReplyForm.DENSE,
    pb.REPLY_FORM_DISTINCT: ReplyForm.DISTINCT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRequest:
    """A request that may be computed: its bytes, the job in them, and what its reply must repeat."""

    data: bytes
    job: Job
    id: str

    @property
    def byte_count(self) -> int:
        """Of the request and its reply."""
        return len(self.data) + self.job.reply_bytes


def accept(data: bytes, limits: Limits) -> AcceptedRequest:
    """The job that a serialised ForwardRequest asks for.

    Raises:
        InvalidRequestError: The message or a value is wrong. Sending it again does not help.
        UnsupportedError: A field or option that this server does not have.
    """
    request = parse(data)
    refuse_unsupported(request)
    words = list(request.words)
    violations = [
        *_number_violations(request, limits),
        *network_violations(request, limits),
        *_text_violations(request.alphabet, words, limits),
    ]
    if not violations:
        symbols = request.alphabet or "".join(dict.fromkeys("".join(words)))
        violations = [*_layout_violations(request, words, symbols=symbols, limits=limits)]
    if violations:
        raise InvalidRequestError(violations)
    network = spec_of(request, symbol_count=len(symbols))
    job = _job(request, network, _encode(words, symbols), limits)
    violations = [*_reply_violations(job, limits)]
    if request.HasField("network") or request.HasField("embedding"):
        violations += weight_violations(network)
    if violations:
        raise InvalidRequestError(violations)
    return AcceptedRequest(data=data, job=job, id=request.id)


def _job(request: pb.ForwardRequest, network: NetworkSpec, words: EncodedWords, limits: Limits) -> Job:
    return Job(
        network=network,
        words=words,
        layout=LAYOUTS[request.layout],
        form=FORMS[request.reply_form],
        max_reply_bytes=limits.max_reply_bytes,
        output=OUTPUTS[request.output],
        return_final_state=request.return_final_state,
    )


def parse(data: bytes) -> pb.ForwardRequest:
    """The message in `data`.

    Raises:
        InvalidRequestError: It is no ForwardRequest, or a string in it is not UTF-8.
    """
    try:
        return pb.ForwardRequest.FromString(data)
    except DecodeError:
        raise _undecodable(data) from None


def parse_info_request(data: bytes) -> None:
    """Accepts a GetServerInfoRequest, which asks nothing in particular.

    Raises:
        InvalidRequestError: The bytes are no message.
        UnsupportedError: It has a field, which this server does not know.
    """
    try:
        request = pb.GetServerInfoRequest.FromString(data)
    except DecodeError:
        raise InvalidRequestError(
            [
                Violation(
                    field="", description=f"the {len(data)} bytes received are not a GetServerInfoRequest"
                )
            ]
        ) from None
    refuse_unknown_fields(request, path="the request")


def request_id(data: bytes) -> str:
    """The id in a request that was refused, as far as it can be read; else empty."""
    try:
        return pb.ForwardRequest.FromString(data).id
    except DecodeError:
        return _id_among_others(data)


def _id_among_others(data: bytes) -> str:
    """The id in a message whose other fields are malformed."""
    try:
        raw = unknown_fields(pb.GetServerInfoRequest.FromString(data))
    except DecodeError:
        return ""
    ids = [item.data for item in raw if item.field_number == pb.ForwardRequest.ID_FIELD_NUMBER]
    return ids[-1].decode() if ids and isinstance(ids[-1], bytes) and _is_utf8(ids[-1]) else ""


def _undecodable(data: bytes) -> InvalidRequestError:
    """Names the string that is not UTF-8, where that is what is wrong with `data`."""
    try:
        # A message without fields reads every field as unknown, strings as bytes.
        raw = unknown_fields(pb.GetServerInfoRequest.FromString(data))
    except DecodeError:
        return InvalidRequestError(
            [Violation(field="", description=f"the {len(data)} bytes received are not a ForwardRequest")]
        )
    word_index = -1
    for item in raw:
        word_index += item.field_number == pb.ForwardRequest.WORDS_FIELD_NUMBER
        descriptor = pb.ForwardRequest.DESCRIPTOR.fields_by_number.get(item.field_number)
        if descriptor is None or descriptor.type != descriptor.TYPE_STRING or _is_utf8(item.data):
            continue
        name = f"words[{word_index}]" if descriptor.name == "words" else descriptor.name
        return InvalidRequestError(
            [Violation(field=name, description=f"{name} is not valid UTF-8; send text encoded as UTF-8")]
        )
    return InvalidRequestError(
        [Violation(field="", description="a field inside the request is malformed or not valid UTF-8")]
    )


def _is_utf8(data: object) -> bool:
    if not isinstance(data, bytes):
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _number_violations(request: pb.ForwardRequest, limits: Limits) -> Iterator[Violation]:
    if not 1 <= request.hidden_size <= limits.max_hidden_size:
        yield Violation(
            field="hidden_size",
            description=(
                f"hidden_size is {request.hidden_size}; this server allows 1 to {limits.max_hidden_size}"
            ),
        )
    id_bytes = len(request.id.encode())
    if id_bytes > MAX_ID_BYTES:
        yield Violation(field="id", description=f"id has {id_bytes} bytes; the limit is {MAX_ID_BYTES}")


def _text_violations(alphabet: str, words: Sequence[str], limits: Limits) -> Iterator[Violation]:
    """Broken rules of the words and of the given alphabet, each by itself."""
    if not words:
        yield Violation(field="words", description="words is empty; send at least one word")
    if len(words) > limits.max_words:
        yield Violation(
            field="words",
            description=(
                f"words has {len(words)} entries; this server allows {limits.max_words}; "
                "send several requests"
            ),
        )
    elif words:
        yield from _length_violations(words, limits)
    if alphabet:
        yield from _alphabet_violations(alphabet, limits)


def _alphabet_violations(symbols: str, limits: Limits) -> Iterator[Violation]:
    if len(symbols) > limits.max_alphabet_size:
        description = (
            f"the alphabet has {len(symbols)} symbols; this server allows {limits.max_alphabet_size}"
        )
        yield Violation(field="alphabet", description=description)
        return
    try:
        Alphabet.of(symbols)
    except DuplicateSymbolError as error:
        yield Violation(field="alphabet", description=f"{error}; name each symbol once")


def _length_violations(words: Sequence[str], limits: Limits) -> Iterator[Violation]:
    if "" in words:
        at = words.index("")
        yield Violation(
            field=f"words[{at}]", description=f"words[{at}] is empty; a word has at least one symbol"
        )
    longest = max(words, key=len)
    if len(longest) > limits.max_word_length:
        at = words.index(longest)
        yield Violation(
            field=f"words[{at}]",
            description=(
                f"words[{at}] has {len(longest)} symbols; this server allows {limits.max_word_length}; "
                "shorten or split it"
            ),
        )


def _layout_violations(
    request: pb.ForwardRequest, words: Sequence[str], *, symbols: str, limits: Limits
) -> Iterator[Violation]:
    """Broken rules about what words, alphabet and layout make together."""
    if not request.alphabet:
        yield from _alphabet_violations(symbols, limits)
    lengths = set(map(len, words))
    if request.layout == pb.LAYOUT_SEQ_FIRST and len(lengths) > 1:
        yield Violation(
            field="layout",
            description=(
                f"layout is LAYOUT_SEQ_FIRST and words have {min(lengths)} to {max(lengths)} symbols; "
                "it runs along the words axis, so send words of one length or use LAYOUT_BATCH_FIRST"
            ),
        )


def _reply_violations(job: Job, limits: Limits) -> Iterator[Violation]:
    """A reply too large whatever the words are; how many states are distinct, the engine finds out."""
    size, places = job.network.state_size, " x ".join(map(str, job.places))
    if job.form is ReplyForm.DENSE:
        reply_bytes = job.reply_bytes
        contents = f"{places} x {size} float32 values"
    else:
        reply_bytes = job.min_reply_bytes
        contents = f"at least 2 x {size} float32 values and an index of {places}"
    if reply_bytes > limits.max_reply_bytes:
        contents += " and the final state" * job.return_final_state
        yield Violation(
            field="words",
            description=(
                f"the reply would be {contents}, {reply_bytes} bytes; this server sends up to "
                f"{limits.max_reply_bytes} in one reply; send fewer words at a time or a smaller hidden_size"
            ),
        )


def _encode(words: Sequence[str], symbols: str) -> EncodedWords:
    try:
        return Alphabet.of(symbols).encode(words)
    except UnknownSymbolError as error:
        field = f"words[{error.word_index}]"
        raise InvalidRequestError(
            [Violation(field=field, description=f"{error}; add it or drop it")]
        ) from None
