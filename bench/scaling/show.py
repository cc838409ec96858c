"""Numbers for people, and rows as Markdown."""

from collections.abc import Iterable, Sequence

GIB = 1 << 30
_UNITS = {"s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("  ", " ") for cells in lines)


def rate(per_s: float) -> str:
    """As a power of ten."""
    return f"{per_s:.0e}".replace("e+0", "e")


def percent(share: float) -> str:
    """Of a whole."""
    hundredths = 100 * share
    if hundredths and hundredths < 0.01:
        return "< 0.01 %"
    return f"{hundredths:.{0 if hundredths >= 10 else 1 if hundredths >= 1 else 2}f} %"


def significant(value: float) -> str:
    """Two digits that matter."""
    if value >= 100:
        return whole(value)
    return f"{value:.2g}" if value >= 0.01 else f"{value:.1e}"


def whole(value: float) -> str:
    """Whole, to three digits that matter."""
    return f"{int(float(f'{value:.3g}')):,}"


def duration(seconds: float) -> str:
    """In the unit that fits."""
    unit = next((name for name, unit_s in _UNITS.items() if seconds >= unit_s), "ns")
    return f"{seconds / _UNITS[unit]:.3g} {unit}"


def size(nbytes: float) -> str:
    """Of memory."""
    gib = nbytes / GIB
    if gib >= 1024:
        return f"{significant(gib / 1024)} TiB"
    return f"{significant(gib)} GiB" if gib >= 1 else f"{nbytes / 2**20:.0f} MiB"


def bandwidth(gbit_s: float) -> str:
    """Of a network."""
    if gbit_s >= 1_000:
        return f"{significant(gbit_s / 1_000)} Tbit/s"
    return f"{significant(gbit_s)} Gbit/s" if gbit_s >= 1 else f"{gbit_s * 1_000:.0f} Mbit/s"
