"""Numbers with their units, the same in all reports."""

import math

NO_VALUE = "-"
_MINUTE_S = 60


def milliseconds(seconds: float) -> str:
    """Returns milliseconds without the unit: three digits, and no finer than a microsecond.

    >>> [milliseconds(seconds) for seconds in (0.000021, 0.00121, 0.0456, 0.198, 12.3, float("nan"))]
    ['0.021', '1.21', '45.6', '198', '12,300', '-']
    """
    value = seconds * 1e3
    if math.isnan(value):
        return NO_VALUE
    return _three_digits(value) if value >= 1 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Returns a measured duration in the unit that suits it.

    >>> [duration(seconds) for seconds in (0.000021, 0.00121, 0.198, 12.34, 754)]
    ['21 µs', '1.21 ms', '198 ms', '12.3 s', '754 s']
    """
    if math.isnan(seconds):
        return NO_VALUE
    if seconds < 1e-3:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.0f} µs"
    return f"{_three_digits(seconds * 1e3)} ms" if seconds < 1 else f"{_three_digits(seconds)} s"


def length(seconds: float) -> str:
    """Returns a chosen length of time, as short as possible.

    >>> [length(seconds) for seconds in (0, 0.05, 2, 7.3333, 60, 600)]
    ['0 s', '50 ms', '2 s', '7.3 s', '60 s', '10 min']
    """
    if seconds >= 2 * _MINUTE_S and seconds % _MINUTE_S == 0:
        return f"{seconds / _MINUTE_S:g} min"
    return f"{seconds * 1e3:.3g} ms" if 0 < seconds < 1 else f"{round(seconds, 1):g} s"


def rate(per_s: float) -> str:
    """Returns requests per second.

    >>> [rate(per_s) for per_s in (0, 499.64, 12_345.6)]
    ['0.0/s', '499.6/s', '12,346/s']
    """
    return f"{per_s:,.1f}/s" if per_s < 1_000 else f"{per_s:,.0f}/s"  # noqa: PLR2004 - four digits suffice


def percentage(part: float, whole: float) -> str:
    """Returns a share; rounding never turns some into 0 % or all but some into 100 %.

    >>> [percentage(part, 30_000) for part in (0, 1, 12, 29_999, 30_000)]
    ['0 %', '< 0.01 %', '0.04 %', '99.99 %', '100 %']
    """
    if not whole:
        return NO_VALUE
    percent = 100 * part / whole
    if 0 < percent < 0.01:  # noqa: PLR2004 - the last digit shown
        return "< 0.01 %"
    return f"{math.floor(percent * 100 + 1e-6) / 100:g} %"


def clock(seconds: float) -> str:
    """Returns the time since the start.

    >>> [clock(seconds) for seconds in (7.4, 72, 3_725)]
    ['0:07', '1:12', '1:02:05']
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def counted(count: int, noun: str) -> str:
    """Returns a count and its noun in the right number.

    >>> counted(1, "process"), counted(30_000, "answer")
    ('1 process', '30,000 answers')
    """
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def _three_digits(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"  # noqa: PLR2004
