"""What is asked: the kinds of requests, and the rates."""

from dataclasses import dataclass

FORMS = ("dense", "distinct", "last")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One kind of request.

    Attributes:
        name: For tables.
        words: Of each request.
        hidden_size: Likewise; one that was measured.
        transport: unary or stream.
        form: Of the reply: one of FORMS.
        is_merged: Whether the SDK sends many calls in one message.
    """

    name: str
    words: int
    hidden_size: int
    transport: str = "unary"
    form: str = "dense"
    is_merged: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a request looks like on average."""

    letters: float
    longest: float
    request_nbytes: float
    reply_nbytes: float


RATES = (1e3, 1e5, 1e7)
SCENARIOS = (
    Scenario(name="S", words=3, hidden_size=2),
    Scenario(name="merged S", words=3, hidden_size=2, is_merged=True),
    Scenario(name="M", words=64, hidden_size=256),
    Scenario(name="L", words=1_024, hidden_size=256),
    Scenario(name="L, distinct", words=1_024, hidden_size=256, form="distinct"),
    Scenario(name="L, last states", words=1_024, hidden_size=256, form="last"),
)
