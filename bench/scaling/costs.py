"""What was measured, as the model takes it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Processor seconds of the server, unless said otherwise; measured.

    Attributes:
        message_s: Of a request and its reply, by transport.
        byte_s: Of a byte of the reply: gathered, joined, sent; by transport, up to ``small_nbytes``.
        large_byte_s: Of each byte beyond, which no longer stays in the processor's caches.
        small_nbytes: The reply at which these two were told apart.
        letter_s: Of a letter of a known word.
        row_s: Of a new state, by hidden size.
        step_s: Of a position at which a request has new states, by hidden size.
        network_s: Of drawing a network, by hidden size.
        network_nbytes: Of a network without words, by hidden size.
        merged_call_s: Of a small call among those that the SDK merges.
        client_message_s: Of a call through the SDK, in the caller's process.
        client_byte_s: Of a byte of its reply.
        client_merged_call_s: Of a merged call, likewise.
        process_nbytes: Of an idle server process.
    """

    message_s: Mapping[str, float]
    byte_s: Mapping[str, float]
    large_byte_s: Mapping[str, float]
    small_nbytes: float
    letter_s: float
    row_s: Mapping[int, float]
    step_s: Mapping[int, float]
    network_s: Mapping[int, float]
    network_nbytes: Mapping[int, int]
    merged_call_s: float
    client_message_s: float
    client_byte_s: float
    client_merged_call_s: float
    process_nbytes: float

    def sending_s(self, nbytes: float, transport: str) -> float:
        """Processor seconds of a reply's bytes."""
        small = min(nbytes, self.small_nbytes)
        return small * self.byte_s[transport] + (nbytes - small) * self.large_byte_s[transport]
