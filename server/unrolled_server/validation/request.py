"""Turns a request's bytes into a job: the one place where a request's values are checked."""

from collections.abc import Mapping
from dataclasses import dataclass

from unrolled.v1 import forward_pb2 as pb

from unrolled_server.engine import Job, Layout, ReplyForm, plain_network
from unrolled_server.engine_settings import Limits
from unrolled_server.errors import InvalidRequestError, TooLargeError, Violation
from unrolled_server.validation.initial_state import state_arrays, state_violations
from unrolled_server.validation.network import OUTPUTS, network_spec, network_violations, weight_violations
from unrolled_server.validation.parsing import parse, refuse_unsupported
from unrolled_server.validation.words import RequestWords, SharedWords, encode_words, word_violations
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


@dataclass(slots=True, kw_only=True)  # frozen ones take three times as long to make
class AcceptedRequest:
    """A valid request.

    Attributes:
        byte_count: Size of the request and, at most, its reply.
        is_cacheable: Whether `data` alone determines the reply; false if the words are an earlier request's.
    """

    data: bytes
    job: Job
    id: str
    byte_count: int
    is_cacheable: bool


class RequestValidator:
    """Checks requests against the contract, this server's limits and its word vectors."""

    def __init__(self, limits: Limits, tables: Mapping[str, VectorTable] = NO_TABLES) -> None:
        self._limits = limits
        self._tables = tables

    def validate(self, data: bytes, shared_words: SharedWords | None = None) -> AcceptedRequest:
        """Returns the job that a serialised ForwardRequest asks for; `shared_words` are those of its stream.

        Raises:
            InvalidRequestError: The message or a value is wrong.
            UnsupportedError: It has a field or an option that this server does not have.
            TooLargeError: The message is larger than the limit.
        """
        if len(data) > self._limits.max_request_bytes:
            raise self._too_large(data)
        request = parse(data)
        if shared_words is not None and request.words:
            shared_words.store(data)
        refuse_unsupported(request, data)
        if shared_words is not None and request.same_words:
            words = shared_words.words_for(request, self._limits)
        else:
            words = RequestWords.of(request, self._limits)
        # Small requests take long for what they are: checks that cannot fail for a plain one are left out.
        has_options = request.HasField("network") or request.HasField("embedding")
        found = self._number_violations(request)
        if has_options or request.output:
            found += network_violations(request, self._limits)
        embedding = request.embedding if has_options else None
        found += word_violations(request, words, embedding, limits=self._limits, tables=self._tables)
        if found:
            raise InvalidRequestError(found)
        job = self._job(request, words, embedding)
        reply_bytes = job.reply_bytes
        # The engine refuses other distinct replies, whose size is known only with their prefixes.
        least_bytes = reply_bytes if job.form is ReplyForm.DENSE else job.min_reply_bytes
        if least_bytes > self._limits.max_reply_bytes:
            raise InvalidRequestError([self._reply_violation(job, least_bytes)])
        return AcceptedRequest(
            data=data,
            job=job,
            id=request.id,
            byte_count=len(data) + reply_bytes,
            is_cacheable=not request.same_words,
        )

    def _too_large(self, data: bytes) -> TooLargeError:
        """Returns the error for what gRPC refuses first on the server's own port; Ray Serve's takes 2 GiB."""
        return TooLargeError(
            f"the message is larger than max: {len(data)} bytes, and this server takes up to "
            f"{self._limits.max_request_bytes}; send fewer words at once"
        )

    def _job(self, request: pb.ForwardRequest, words: RequestWords, embedding: pb.Embedding | None) -> Job:
        """Returns the job of a request without violations; `embedding` is None if its network is plain."""
        encoded = encode_words(request, words, embedding, tables=self._tables)
        has_state = request.HasField("initial_state")
        if embedding is None:
            network = plain_network(len(words.symbols), request.hidden_size, request.seed)
            found = []
        else:
            network = network_spec(request, words, table=self._tables.get(embedding.vectors))
            found = list(weight_violations(network))
        if has_state:
            batch = encoded.max_length if request.layout == pb.LAYOUT_SEQ_FIRST else len(encoded)
            found += state_violations(request.initial_state, network, batch=batch)
        if found:
            raise InvalidRequestError(found)
        return Job(
            network=network,
            words=encoded,
            layout=LAYOUTS[request.layout],
            form=FORMS[request.reply_form],
            max_reply_bytes=self._limits.max_reply_bytes,
            output=OUTPUTS[request.output],
            return_final_state=request.return_final_state,
            initial_state=state_arrays(request.initial_state) if has_state else None,
        )

    def _number_violations(self, request: pb.ForwardRequest) -> list[Violation]:
        found = []
        limit = self._limits.max_hidden_size
        if not 1 <= request.hidden_size <= limit:
            description = f"hidden_size is {request.hidden_size}; this server allows 1 to {limit}"
            found.append(Violation("hidden_size", description))
        if request.id and (id_bytes := len(request.id.encode())) > MAX_ID_BYTES:
            found.append(Violation("id", f"id has {id_bytes} bytes; the limit is {MAX_ID_BYTES}"))
        return found

    def _reply_violation(self, job: Job, reply_bytes: int) -> Violation:
        """Returns what is wrong with a reply of so many bytes, in the distinct form of at least so many."""
        size, places = job.network.output_size, " x ".join(map(str, job.places))
        contents = (
            f"{places} x {size} float32 values"
            if job.form is ReplyForm.DENSE
            else f"at least 2 x {size} float32 values and an index of {places}"
        ) + " and the final state" * job.return_final_state
        return Violation(
            "words",
            f"the reply would be {contents}, {reply_bytes} bytes; this server sends up to "
            f"{self._limits.max_reply_bytes} in one reply; send fewer words at a time or a smaller "
            "hidden_size",
        )
