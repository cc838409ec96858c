"""All tables of docs/scaling.md, and those that tell what the model says.

A file of its own because a test makes them again from figures.json and compares them with the page.
"""

from collections.abc import Mapping
from dataclasses import fields, replace

from bench.scaling import show
from bench.scaling.assumptions import Assumptions
from bench.scaling.figure_tables import figure_tables
from bench.scaling.figures import Figures
from bench.scaling.model import Answer, Model
from bench.scaling.queueing import time_quantile, wait_quantile
from bench.scaling.scenarios import RATES, SCENARIOS, Scenario

CORPUS_SIZE = 100_000
UTILISATIONS = (0.3, 0.6, 0.8, 0.9, 0.95)
POOL_SIZES = (1, 4, 16)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


def all_tables(figures: Figures) -> Mapping[str, str]:
    """By the name that the page has for each."""
    model = Model(costs=figures.costs(), language=figures.corpora[CORPUS_SIZE])
    return figure_tables(figures) | {
        "answers": answers(model),
        "costs": costs(figures, model.assumptions),
        "assumptions": assumed(model.assumptions),
        "parts": parts(model),
        "hottest": hottest(model),
        "policies": policies(model),
        "waits": waits(),
        "hop": hop(model),
    }


def answers(model: Model) -> str:
    """The page's first table."""
    head = ("", "requests/s", "new states", "processes", "memory", "network", "machines", "first bound")
    rows = [
        (
            scenario.name if rate == RATES[0] else "",
            show.rate(rate),
            *_serving(model.answer(scenario, rate=rate)),
        )
        for scenario in SCENARIOS
        for rate in RATES
    ]
    return show.markdown(head, rows)


def _name(scenario: Scenario, rate: float) -> str:
    """Once for its rows."""
    return scenario.name if rate == RATES[0] else ""


def _serving(answer: Answer) -> tuple[str, ...]:
    return (
        show.percent(answer.new_share),
        show.whole(answer.process_count),
        f"{show.size(answer.memory_nbytes)}",
        show.bandwidth(answer.gbit_s),
        show.whole(answer.machine_count),
        answer.bound_by,
    )


def costs(figures: Figures, assumptions: Assumptions) -> str:
    """What it costs, and how long it takes."""
    model = Model(costs=figures.costs(), language=figures.corpora[CORPUS_SIZE], assumptions=assumptions)
    money = assumptions.currency
    head = ("", "requests/s", "core-hours/h", "client cores", f"{money}/h", f"{money}/million", "p99", "hops")
    rows = []
    for scenario in SCENARIOS:
        for rate in RATES:
            answer = model.answer(scenario, rate=rate)
            rows.append(
                (
                    _name(scenario, rate),
                    show.rate(rate),
                    show.whole(answer.process_count),
                    show.significant(answer.client_cores),
                    show.significant(answer.money_per_hour),
                    show.significant(answer.money_per_million),
                    "" if answer.p99_s is None else show.duration(answer.p99_s),
                    str(answer.hop_count),
                )
            )
    return show.markdown(head, rows)


def assumed(assumptions: Assumptions) -> str:
    """Parameters that nobody measured."""
    rows = []
    for field in fields(assumptions):
        value = getattr(assumptions, field.name)
        rows.append((f"`{field.name}`", str(value)))
    return show.markdown(("assumption", "value"), rows)


def parts(model: Model) -> str:
    """Where a request's processor time goes, in the middle of the three rates."""
    names = ("messages", "letters", "bytes", "new states", "new networks")
    rows = []
    for scenario in SCENARIOS:
        answer = model.answer(scenario, rate=RATES[1])
        shares = (answer.parts_s.get(name, 0.0) / answer.request_s for name in names)
        rows.append(
            (scenario.name, show.duration(answer.request_s), *(show.percent(share) for share in shares))
        )
    return show.markdown(("", "a request", *names), rows)


def hottest(model: Model) -> str:
    """From where on affinity alone is not enough."""
    rows = [
        (
            scenario.name,
            show.significant(model.max_rate_of_one(scenario)),
            show.significant(model.hottest_rate(scenario)),
        )
        for scenario in SCENARIOS
    ]
    return show.markdown(("", "requests/s of one process", "of all networks, as the hottest fills it"), rows)


def policies(model: Model) -> str:
    """Affinity against round_robin, all states kept."""
    head = ("", "requests/s", "policy", "new states", "processes", "memory", "memory of a process")
    rows = []
    for scenario in (BY_NAME["S"], BY_NAME["M"], BY_NAME["L, last states"]):
        for rate in RATES:
            for has_affinity in (True, False):
                answer = replace(model, has_affinity=has_affinity).answer(scenario, rate=rate)
                rows.append(_policy(scenario, rate, answer, has_affinity=has_affinity))
    return show.markdown(head, rows)


def _policy(scenario: Scenario, rate: float, answer: Answer, *, has_affinity: bool) -> tuple[str, ...]:
    return (
        scenario.name if has_affinity and rate == RATES[0] else "",
        show.rate(rate) if has_affinity else "",
        "affinity" if has_affinity else "round_robin",
        show.percent(answer.new_share),
        show.whole(answer.process_count),
        show.size(answer.memory_nbytes),
        show.size(answer.memory_nbytes / answer.process_count),
    )


def waits() -> str:
    """In service times: nothing here is measured."""
    rows = [
        (
            show.percent(utilisation),
            f"{time_quantile(0.99, utilisation=utilisation):.1f}",
            *(
                f"{wait_quantile(0.99, utilisation=utilisation, server_count=size):.1f}"
                for size in POOL_SIZES
            ),
        )
        for utilisation in UTILISATIONS
    ]
    head = ("utilisation", "wait and service, p99", *(f"wait alone, {size} processes" for size in POOL_SIZES))
    return show.markdown(head, rows)


def hop(model: Model) -> str:
    """What a balancer that reads requests takes, by assumption."""
    rows = []
    for scenario in SCENARIOS:
        answer = model.answer(scenario, rate=RATES[1])
        share = answer.balancer_cores / answer.process_count
        rows.append(
            (
                scenario.name,
                show.whole(answer.process_count),
                show.significant(answer.balancer_cores),
                show.percent(share),
                show.significant(answer.serve_cores),
            )
        )
    head = ("", "processes", "cores of one hop", "of the processes", "cores of Ray Serve's proxies")
    return show.markdown(head, rows)
