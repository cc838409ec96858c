"""How much is known already: by traffic seen, by memory, by processes.

A file of its own because these are the experiments; the rules are in cache, the words in corpus. What is
unbounded is told by the closed form, what is short of memory or spread over processes by simulation.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bench.scaling.cache import SimulatedCache, Sizes
from bench.scaling.corpus import Corpus
from bench.scaling.language import Language, zipf_shares
from bench.workloads import LETTERS

MIB = 1 << 20
CORPUS_SIZES = (1_000, 10_000, 100_000)
WORDS_SEEN = tuple(float(f"{10 ** (power / 4):.3g}") for power in range(61))  # 1 to 1e15
NETWORK_COUNT, ZIPF_EXPONENT = 400, 1.0
WORDS_A_REQUEST, HIDDEN_SIZE = 64, 256
BUDGETS_MIB = (32, 64, 128, 256, 512, 1_024, 2_048)
PROCESS_COUNTS = (1, 2, 4, 8, 16)
PROCESS_BUDGET_MIB = 128
SPREAD_CORPUS_SIZE = 10_000
REQUEST_COUNT, SPREAD_REQUEST_COUNT = 32_000, 32_000


def language(corpus: Corpus) -> Language:
    """What the model has to know of a corpus."""
    return Language(
        letters_per_word=corpus.letters_per_word,
        length_shares=[round(share, 9) for share in corpus.length_shares().tolist()],
        prefix_count=len(corpus.prefix_shares),
        words_seen=WORDS_SEEN,
        distinct_prefixes=[round(corpus.distinct_prefixes(count), 3) for count in WORDS_SEEN],
    )


def simulated_by_traffic(corpus: Corpus, *, base_nbytes: int) -> Sequence[tuple[float, float]]:
    """One network, memory enough: (words seen, share of the last half's letters that was known)."""
    cache = SimulatedCache(corpus, sizes=_sizes(base_nbytes), budget_bytes=1 << 40)
    draw = np.random.default_rng(3)
    points, seen, before = [], 0, (0, 0)
    for doubling in range(13):
        while seen < WORDS_A_REQUEST << doubling:
            cache.ask(0, _words(corpus, draw))
            seen += WORDS_A_REQUEST
        now = (cache.asked_rows, cache.computed_rows)
        points.append((float(seen), 1 - (now[1] - before[1]) / (now[0] - before[0])))
        before = now
    return points


def by_memory(corpus: Corpus, *, base_nbytes: int) -> Sequence[Mapping[str, float]]:
    """One process under traffic over many networks, for each budget."""
    return [
        {"budget_mib": budget}
        | _run([_cache(corpus, base_nbytes, budget)], corpus, route=_to_one, count=REQUEST_COUNT)
        for budget in BUDGETS_MIB
    ]


def by_processes(corpus: Corpus, *, base_nbytes: int) -> Mapping[str, Sequence[Mapping[str, float]]]:
    """The same traffic over more and more processes, each with the same memory."""
    routes = {"affinity": _to_its_own, "round_robin": _round_robin}
    return {
        policy: [
            {"process_count": count}
            | _run(
                [_cache(corpus, base_nbytes, PROCESS_BUDGET_MIB) for _ in range(count)],
                corpus,
                route=route,
                count=SPREAD_REQUEST_COUNT,
            )
            for count in PROCESS_COUNTS
        ]
        for policy, route in routes.items()
    }


def _run(
    caches: Sequence[SimulatedCache], corpus: Corpus, *, route: Callable[..., int], count: int
) -> dict[str, float]:
    """Half of the traffic warms up, the other half counts."""
    draw = np.random.default_rng(4)
    shares = zipf_shares(NETWORK_COUNT, exponent=ZIPF_EXPONENT)
    names = draw.choice(NETWORK_COUNT, size=count, p=shares).tolist()
    for at, name in enumerate(names[: count // 2]):
        caches[route(name, at, len(caches))].ask(name, _words(corpus, draw))
    before = _counts(caches)
    for at, name in enumerate(names[count // 2 :]):
        caches[route(name, at, len(caches))].ask(name, _words(corpus, draw))
    asked, computed, drawn = (now - then for now, then in zip(_counts(caches), before, strict=True))
    busiest = max(cache.request_count for cache in caches) * len(caches) / count
    return {
        "state_hit_rate": round(1 - computed / asked, 6),
        "network_hit_rate": round(1 - drawn / (count - count // 2), 6),
        "held_mib": round(sum(cache.held_bytes for cache in caches) / MIB, 1),
        "busiest_over_mean": round(busiest, 3),
    }


def _counts(caches: Sequence[SimulatedCache]) -> tuple[int, int, int]:
    return (
        sum(cache.asked_rows for cache in caches),
        sum(cache.computed_rows for cache in caches),
        sum(cache.drawn_count for cache in caches),
    )


def _words(corpus: Corpus, draw: np.random.Generator) -> np.ndarray:
    places = np.searchsorted(corpus.summed_shares, draw.random(WORDS_A_REQUEST))
    return np.minimum(places, len(corpus.words) - 1)


def _cache(corpus: Corpus, base_nbytes: int, budget_mib: int) -> SimulatedCache:
    return SimulatedCache(corpus, sizes=_sizes(base_nbytes), budget_bytes=budget_mib * MIB)


def _sizes(base_nbytes: int) -> Sizes:
    return Sizes(base_nbytes=base_nbytes, hidden_size=HIDDEN_SIZE, symbol_count=len(LETTERS))


def _to_one(_name: int, _at: int, _count: int) -> int:
    return 0


def _to_its_own(name: int, _at: int, count: int) -> int:
    """Highest random weight: a network's process changes only where that process leaves."""
    return max(range(count), key=lambda process: hash((name * 2_654_435_761, process)))


def _round_robin(_name: int, at: int, count: int) -> int:
    return at % count
