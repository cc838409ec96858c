"""Whether a result says something of the server, or only of what made the load.

A file of its own because it waits for nothing: it judges numbers.
"""

MAX_BUSY = 0.9
MAX_LATE_SHARE = 0.01
MAX_CEILING_SHARE = 0.9


def why_bound(
    *,
    busy: float,
    late_share: float,
    achieved_per_s: float,
    ceiling_per_s: float | None,
    is_behind: bool,
) -> str | None:
    """Why the generator bounds a result, for a person; None if it does not.

    Args:
        busy: The part of one core that the busiest process used.
        late_share: Requests that were sent late though there was room for them, to all.
        achieved_per_s: Answers per second.
        ceiling_per_s: The generator's answers per second from an echo server; None if unknown.
        is_behind: Whether less was answered than was offered, or as much as possible was asked for.
    """
    if busy > MAX_BUSY:
        return f"its busiest process used {busy:.2f} of a core; add processes, on more cores"
    if late_share > MAX_LATE_SHARE:
        return (
            f"{late_share:.1%} of the requests were sent over a millisecond late for want of its own time; "
            "offer less, or give it cores of its own"
        )
    if is_behind and ceiling_per_s is not None and achieved_per_s > MAX_CEILING_SHARE * ceiling_per_s:
        return (
            f"{achieved_per_s:,.0f} answers/s are near the {ceiling_per_s:,.0f}/s that it reaches against an "
            "echo server; add processes, on more cores"
        )
    return None
