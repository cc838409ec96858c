"""What stays in a memory that is short: Che's approximation, for whole networks.

A file of its own because it is the one part of the model that isn't plain arithmetic. The network that was
least recently used leaves. In a memory of many networks that comes down to one time T for all: whoever was
not asked for T is gone [Che, Tung, Wang: Hierarchical Web Caching Systems, 2002]. A network that is asked l
times a second stays for e^(lT) requests on average, since gaps between random requests are that rarely longer
than T. While it stays it learns, so each stay costs the distinct states of its words; and T is such that what
stays fills the memory.
"""

from dataclasses import dataclass

import numpy as np

from bench.scaling.language import Language

_MAX_EXPONENT = 60.0
_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """What copies of networks are asked.

    Attributes:
        rates: Requests per second of one copy of each network.
        copies: Processes that have each network.
        words: Of a request.
        lifetime_s: Until all is forgotten anyway.
    """

    rates: np.ndarray
    copies: np.ndarray
    words: int
    lifetime_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a memory does for a traffic, over a lifetime.

    Attributes:
        new_states: Computed in all.
        drawn_networks: Likewise.
        nbytes: Held at the end.
    """

    new_states: float
    drawn_networks: float
    nbytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Of all processes together.

    Attributes:
        language: Of the words.
        network_nbytes: Of a network without words.
        row_nbytes: Of a state, with what a growing table has to spare.
    """

    language: Language
    network_nbytes: float
    row_nbytes: float

    def keep(self, traffic: Traffic, *, budget_nbytes: float | None) -> Kept:
        """What becomes of a traffic within a budget; None for as much as it takes."""
        everything = self._kept(traffic, stay_s=np.inf)
        if budget_nbytes is None or everything.nbytes <= budget_nbytes:
            return everything
        low, high = 0.0, traffic.lifetime_s
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._kept(traffic, stay_s=middle).nbytes > budget_nbytes:
                high = middle
            else:
                low = middle
        return self._kept(traffic, stay_s=low)

    def _kept(self, traffic: Traffic, *, stay_s: float) -> Kept:
        asked = traffic.rates * traffic.lifetime_s  # requests of a copy in its lifetime
        stays = np.minimum(traffic.rates * stay_s, _MAX_EXPONENT)
        requests = np.minimum(np.exp(stays), asked)  # of one stay
        rows = self.language.distinct(requests * traffic.words)
        stay_counts = traffic.copies * np.where(asked < 1, asked, asked / np.maximum(requests, 1e-300))
        present = np.where(stays < _MAX_EXPONENT, -np.expm1(-stays), 1.0) * np.minimum(asked, 1.0)
        nbytes = present * traffic.copies * (self.network_nbytes + rows * self.row_nbytes)
        return Kept(
            new_states=float((stay_counts * rows).sum()),
            drawn_networks=float(stay_counts.sum()),
            nbytes=float(nbytes.sum()),
        )
