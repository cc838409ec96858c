"""From a request's bytes to a job: the one place where a request's values are judged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import EncodedWords, Job, Layout, NetworkSpec, ReplyForm
from unrolled_server.errors import InvalidRequestError, TooLargeError, Violation
from unrolled_server.settings.model import Limits
from unrolled_server.validation.capabilities import (
    MAX_LISTED_BYTES,
    refuse_unnamed_fields,
    refuse_unsupported,
)
from unrolled_server.validation.initial_state import state_of, state_violations
from unrolled_server.validation.network import OUTPUTS, network_violations, spec_of, weight_violations
from unrolled_server.validation.parsing import parse
from unrolled_server.validation.words import SharedTexts, Texts, encode, text_violations
from unrolled_server.word_vectors import VectorTable

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
NO_TABLES: Mapping[str, VectorTable] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRequest:
    """A request that may be computed: its bytes, the job in them, and what its reply must repeat.

    Attributes:
        data: As received.
        job: What it asks for.
        id: Its own.
        is_whole: Whether the bytes alone say what is asked; not where words come from another request.
    """

    data: bytes
    job: Job
    id: str
    is_whole: bool = True

    @property
    def byte_count(self) -> int:
        """Of the request and its reply."""
        return len(self.data) + self.job.reply_bytes


def accept(
    data: bytes,
    limits: Limits,
    *,
    tables: Mapping[str, VectorTable] = NO_TABLES,
    shared: SharedTexts | None = None,
) -> AcceptedRequest:
    """The job that a serialised ForwardRequest asks for.

    Args:
        data: The message.
        limits: What it may ask for.
        tables: Word vectors by name.
        shared: The texts that requests of its stream share; None for a unary call.

    Raises:
        InvalidRequestError: The message or a value is wrong. Sending it again does not help.
        UnsupportedError: A field or option that this server does not have.
        TooLargeError: The message is larger than it may be.
    """
    _refuse_large(data, limits)
    request = parse(data)
    if shared is not None and request.words:
        shared.note(data)
    if len(data) > MAX_LISTED_BYTES:
        refuse_unnamed_fields(request, path="the request")
    refuse_unsupported(request)
    texts = _texts_of(request, shared, limits)
    violations = [
        *_number_violations(request, limits),
        *network_violations(request, limits),
        *text_violations(request, texts, limits=limits, tables=tables),
    ]
    if violations:
        raise InvalidRequestError(violations)
    words = encode(request, texts, tables=tables)
    network = spec_of(request, texts, table=tables.get(request.embedding.vectors))
    if request.HasField("network") or request.HasField("embedding"):
        violations += weight_violations(network)
    if request.HasField("initial_state"):
        batch = words.max_length if request.layout == pb.LAYOUT_SEQ_FIRST else len(words)
        violations += state_violations(request.initial_state, network, batch=batch)
    if violations:
        raise InvalidRequestError(violations)
    job = _job(request, network, words, limits)
    violations = [*_reply_violations(job, limits)]
    if violations:
        raise InvalidRequestError(violations)
    return AcceptedRequest(data=data, job=job, id=request.id, is_whole=not request.same_words)


def _refuse_large(data: bytes, limits: Limits) -> None:
    """On a port of our own gRPC has done it, in such words; Ray Serve's proxy takes 2 GiB."""
    limit = limits.max_request_bytes
    if len(data) > limit:
        raise TooLargeError(
            f"the message is larger than max: {len(data)} bytes, and this server takes up to {limit}; "
            "send fewer words at once"
        )


def _texts_of(request: pb.ForwardRequest, shared: SharedTexts | None, limits: Limits) -> Texts:
    """The request's own, or those of an earlier one of its stream."""
    if shared is not None and request.same_words:
        return shared.texts_for(request, limits)
    return Texts.of(request, limits)


def _job(request: pb.ForwardRequest, network: NetworkSpec, words: EncodedWords, limits: Limits) -> Job:
    return Job(
        network=network,
        words=words,
        layout=LAYOUTS[request.layout],
        form=FORMS[request.reply_form],
        max_reply_bytes=limits.max_reply_bytes,
        output=OUTPUTS[request.output],
        return_final_state=request.return_final_state,
        initial_state=state_of(request.initial_state) if request.HasField("initial_state") else None,
    )


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


def _reply_violations(job: Job, limits: Limits) -> Iterator[Violation]:
    """A reply too large whatever the words are; how many states are distinct, the engine finds out."""
    is_dense = job.form is ReplyForm.DENSE
    reply_bytes = job.reply_bytes if is_dense else job.min_reply_bytes
    if reply_bytes <= limits.max_reply_bytes:
        return
    size, places = job.network.output_size, " x ".join(map(str, job.places))
    contents = (
        f"{places} x {size} float32 values"
        if is_dense
        else f"at least 2 x {size} float32 values and an index of {places}"
    ) + " and the final state" * job.return_final_state
    yield Violation(
        field="words",
        description=(
            f"the reply would be {contents}, {reply_bytes} bytes; this server sends up to "
            f"{limits.max_reply_bytes} in one reply; send fewer words at a time or a smaller hidden_size"
        ),
    )
