"""Seeds as a person writes them; a file of its own because both the command and the columns' names use it."""

import re

from unrolled_corpus.errors import CorpusError

_PART = re.compile(r"(-?\d{1,20})(?:-(-?\d{1,20}))?")
_MAX_SEEDS = 1_000
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1


def parse_seeds(given: str) -> tuple[int, ...]:
    """Returns the seeds, in the order given.

    >>> parse_seeds("0-3,17")
    (0, 1, 2, 3, 17)

    Raises:
        CorpusError: It is no list of numbers and ranges, a seed stands twice, or they are too many.
    """
    seeds: list[int] = []
    for part in given.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise CorpusError(f"--seeds has {part!r}; give numbers and ranges, such as 0-9,17")
        first, last = int(found[1]), int(found[2] or found[1])
        if not _LOWEST <= first <= last <= _HIGHEST:
            raise CorpusError(
                f"--seeds has {part!r}; a range runs upwards, and seeds are from -2**63 to 2**64 - 1, as for "
                "torch.manual_seed"
            )
        if last - first >= _MAX_SEEDS or len(seeds) + last - first >= _MAX_SEEDS:
            raise CorpusError(f"--seeds names more than {_MAX_SEEDS:,} seeds; run several jobs")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise CorpusError(f"--seeds names {twice} twice; each seed is a column, so name it once")
    return tuple(seeds)


def column_of(seed: int) -> str:
    """The output's column of a seed."""
    return f"seed_{seed}"
