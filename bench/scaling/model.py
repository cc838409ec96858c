"""How many processes, how much memory, what money: pure functions of figures, assumptions and a scenario.

A file of its own because it measures nothing and draws nothing: given the same figures it gives the same
answers, so that the tables of docs/scaling.md can be checked against it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from bench.scaling.assumptions import Assumptions
from bench.scaling.costs import Costs
from bench.scaling.language import Language, zipf_shares
from bench.scaling.memory import Kept, Memory, Traffic
from bench.scaling.queueing import time_quantile
from bench.scaling.scenarios import Scenario, Shape

GIB, FLOAT_NBYTES, SYMBOL_NBYTES = 1 << 30, 4, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What serves a scenario at a rate.

    Attributes:
        rate: Requests per second.
        parts_s: Processor seconds of a request, by what they go to.
        new_share: Letters whose state isn't known, over a process's lifetime.
        process_count: One a core.
        memory_nbytes: Resident, of all processes at the end of their lifetime.
        gbit_s: Of requests and replies.
        machine_count: Enough for cores, memory and network.
        bound_by: Which of these asks for the most machines, and which part of a core's work is largest.
        hop_count: Balancers between client and process.
        balancer_cores: Of one hop that reads requests, if there is to be one.
        serve_cores: Of Ray Serve's proxies, if they are the hop.
        client_cores: Of all callers together.
        p99_s: Waiting and service, if arrivals are random; None for merged calls, where it hangs on how many
            share a message.
        used_per_hour: Money for cores and memory.
        money_per_hour: Of cores and memory, or of the machines that the network needs, where these cost more.
    """

    rate: float
    parts_s: Mapping[str, float]
    new_share: float
    process_count: int
    memory_nbytes: float
    gbit_s: float
    machine_count: int
    bound_by: str
    hop_count: int
    balancer_cores: float
    serve_cores: float
    client_cores: float
    p99_s: float | None
    used_per_hour: float
    money_per_hour: float

    @property
    def request_s(self) -> float:
        """Processor seconds of a request."""
        return sum(self.parts_s.values())

    @property
    def money_per_million(self) -> float:
        """Of a million requests."""
        return self.money_per_hour / (self.rate * 3600) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Figures and assumptions, ready to be asked.

    Attributes:
        costs: Measured.
        language: Of the requests.
        assumptions: The rest.
        has_affinity: Whether a network's requests go to few processes, or to all in turn.
    """

    costs: Costs
    language: Language
    assumptions: Assumptions = field(default_factory=Assumptions)
    has_affinity: bool = True

    def shape(self, scenario: Scenario) -> Shape:
        """A request's letters and bytes."""
        letters = scenario.words * self.language.letters_per_word
        longest = self.language.longest(scenario.words)
        state_nbytes = FLOAT_NBYTES * scenario.hidden_size
        positions = scenario.words * longest
        values_nbytes = {
            "dense": positions * state_nbytes,
            "distinct": float(self.language.distinct(scenario.words) + 1) * state_nbytes + 4 * positions,
            "last": scenario.words * state_nbytes,
        }[scenario.form]
        return Shape(
            letters=letters,
            longest=longest,
            request_nbytes=40 + letters + 2 * scenario.words,
            reply_nbytes=60 + values_nbytes + scenario.words,
        )

    def parts_s(self, scenario: Scenario, *, new_states: float, networks: float = 0.0) -> dict[str, float]:
        """Processor seconds of a request that has so many new states and draws so many networks."""
        costs, shape, size = self.costs, self.shape(scenario), scenario.hidden_size
        if scenario.is_merged:
            known = {"messages": costs.merged_call_s}
        else:
            known = {
                "messages": costs.message_s[scenario.transport],
                "letters": shape.letters * costs.letter_s,
                "bytes": costs.sending_s(shape.reply_nbytes, scenario.transport),
            }
        steps = min(new_states, shape.longest)
        computed_s = steps * costs.step_s[size] + new_states * costs.row_s[size]
        return known | {"new states": computed_s, "new networks": networks * costs.network_s[size]}

    def copies(self, process_count: int) -> np.ndarray:
        """On how many processes each network is known, the most asked first."""
        shares = self._network_shares
        if not self.has_affinity:
            return np.full(len(shares), process_count)
        return np.minimum(np.ceil(shares * process_count), process_count)

    def answer(self, scenario: Scenario, *, rate: float) -> Answer:
        """What serves a scenario at a rate, with the state memory that makes it cheapest."""
        budgets = self.assumptions.process_gib
        answers = [self.answer_within(scenario, rate=rate, process_gib=budget) for budget in budgets]
        return min(answers, key=lambda answer: (answer.money_per_hour, answer.used_per_hour))

    def answer_within(self, scenario: Scenario, *, rate: float, process_gib: float | None) -> Answer:
        """The same with this state memory for each process; None for as much as it takes."""
        count = self.assumptions.min_process_count
        while True:
            kept = self.kept(scenario, rate=rate, process_count=count, process_gib=process_gib)
            request_count = rate * self.assumptions.lifetime_s
            parts_s = self.parts_s(
                scenario,
                new_states=kept.new_states / request_count,
                networks=kept.drawn_networks / request_count,
            )
            needed = math.ceil(rate * sum(parts_s.values()) / self.assumptions.utilisation)
            if needed <= count:
                return self._answer(scenario, rate, parts_s, kept, count)
            count = needed

    def kept(self, scenario: Scenario, *, rate: float, process_count: int, process_gib: float | None) -> Kept:
        """What all processes together compute and hold over a lifetime."""
        assumptions, size, copies = self.assumptions, scenario.hidden_size, self.copies(process_count)
        traffic = Traffic(
            rates=rate * self._network_shares / copies,
            copies=copies,
            words=scenario.words,
            lifetime_s=assumptions.lifetime_s,
        )
        memory = Memory(
            language=self.language,
            network_nbytes=self.costs.network_nbytes[size],
            row_nbytes=(FLOAT_NBYTES * size + SYMBOL_NBYTES * 26) * assumptions.table_slack,
        )
        budget_nbytes = None if process_gib is None else process_count * process_gib * GIB
        return memory.keep(traffic, budget_nbytes=budget_nbytes)

    def max_rate_of_one(self, scenario: Scenario) -> float:
        """Requests/s that one process serves when all is known."""
        return self.assumptions.utilisation / sum(self.parts_s(scenario, new_states=0).values())

    def hottest_rate(self, scenario: Scenario) -> float:
        """Requests/s of all networks at which the hottest needs a second process."""
        return self.max_rate_of_one(scenario) / float(self._network_shares[0])

    @property
    def _network_shares(self) -> np.ndarray:
        return zipf_shares(self.assumptions.network_count, exponent=self.assumptions.zipf_exponent)

    def _answer(
        self, scenario: Scenario, rate: float, parts_s: Mapping[str, float], kept: Kept, process_count: int
    ) -> Answer:
        assumptions, shape = self.assumptions, self.shape(scenario)
        nbytes = shape.request_nbytes + shape.reply_nbytes
        gbit_s, request_s = 8e-9 * rate * nbytes, sum(parts_s.values())
        utilisation = min(assumptions.utilisation, rate * request_s / process_count)
        p99_s = request_s * time_quantile(0.99, utilisation=utilisation)
        memory_nbytes = process_count * self.costs.process_nbytes + kept.nbytes * assumptions.resident_share
        machines = {
            "cores": process_count / assumptions.machine_cores,
            "memory": memory_nbytes / (0.8 * assumptions.machine_gib * GIB),
            "network": gbit_s / (assumptions.utilisation * assumptions.machine_gbit_s),
        }
        bound_by = max(machines, key=machines.__getitem__)
        if bound_by == "cores":
            bound_by = f"cores: {max(parts_s, key=parts_s.__getitem__)}"
        used = process_count * assumptions.core_hour + memory_nbytes / GIB * assumptions.gib_hour
        sent_gib = rate * 3600 * nbytes / GIB
        return Answer(
            rate=rate,
            parts_s=parts_s,
            new_share=kept.new_states / (rate * assumptions.lifetime_s * shape.letters),
            process_count=process_count,
            memory_nbytes=memory_nbytes,
            gbit_s=gbit_s,
            machine_count=math.ceil(max(machines.values())),
            bound_by=bound_by,
            hop_count=int(process_count > assumptions.max_direct_count),
            balancer_cores=self._cores_between(
                scenario,
                rate * assumptions.balancer_message_s,
                rate * nbytes * assumptions.balancer_byte_s,
            ),
            serve_cores=self._cores_between(
                scenario, rate * assumptions.serve_message_s, rate * nbytes * assumptions.serve_byte_s
            ),
            client_cores=rate * self._client_s(scenario, shape),
            p99_s=None if scenario.is_merged else p99_s,
            used_per_hour=used,
            money_per_hour=max(used, machines["network"] * assumptions.machine_hour)
            + sent_gib * assumptions.gib_sent,
        )

    def _cores_between(self, scenario: Scenario, messages_s: float, bytes_s: float) -> float:
        """Of what stands between and handles every message and byte; merged calls share their messages."""
        shared_by = self.assumptions.calls_per_message if scenario.is_merged else 1
        return (messages_s / shared_by + bytes_s) / self.assumptions.utilisation

    def _client_s(self, scenario: Scenario, shape: Shape) -> float:
        if scenario.is_merged:
            return self.costs.client_merged_call_s
        return self.costs.client_message_s + shape.reply_nbytes * self.costs.client_byte_s
