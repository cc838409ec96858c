"""The tables of docs/scaling.md that tell what was measured and simulated."""

from collections.abc import Mapping

import numpy as np

from bench.scaling import hit_rates, show
from bench.scaling.assumptions import Assumptions
from bench.scaling.figures import FITTED, Figures
from bench.scaling.language import zipf_shares
from bench.scaling.memory import Memory, Traffic
from bench.scaling.reading import Reading

WORD_COUNTS = (1e2, 1e3, 1e4, 1e5, 1e6)


def figure_tables(figures: Figures) -> Mapping[str, str]:
    """By the name that the page has for each."""
    return {
        "machine": machine(figures),
        "readings": readings(figures),
        "derived": derived(figures),
        "check": check(figures),
        "loops": loops(figures),
        "corpora": corpora(figures),
        "spread": spread(figures),
        "short": short(figures),
    }


def machine(figures: Figures) -> str:
    """On what and when."""
    rows = [("taken", figures.taken), *((name, str(value)) for name, value in figures.machine.items())]
    return show.markdown(("", ""), rows)


def readings(figures: Figures) -> str:
    """What was read, with its spread."""
    head = ("processor time of", "median", "a tenth below", "a tenth above", "readings")
    rows = []
    for size, sides in figures.engine.items():
        for side, name in (("row_s", "a new state"), ("step_s", "a step"), ("network_s", "a new network")):
            rows.append((f"{name}, hidden {size:,}", *_reading(sides[side])))
    for name, sides in figures.service.items():
        what, _, transport = name.partition("/")
        if what == "sdk":
            rows.append((f"the SDK's caller: {transport}", *_reading(sides["client_s"])))
        else:
            rows.append((f"the server: {what} {transport}".rstrip(), *_reading(sides["server_s"])))
    rows.append(("the SDK's caller: merged", *_reading(figures.service["merged"]["client_s"])))
    return show.markdown(head, rows)


def derived(figures: Figures) -> str:
    """What the model takes."""
    costs = figures.costs()
    rows = [
        ("$c_m$", "a message, unary", show.duration(costs.message_s["unary"])),
        ("", "a message, on a stream", show.duration(costs.message_s["stream"])),
        ("", "a call among merged ones, with its letters and bytes", show.duration(costs.merged_call_s)),
        ("$c_l$", "a letter of a known word", show.duration(costs.letter_s)),
        ("$c_b$", "a byte of the reply, unary", show.duration(costs.byte_s["unary"])),
        ("", "a byte of the reply, on a stream", show.duration(costs.byte_s["stream"])),
        (
            "$c_B$",
            f"a byte beyond {show.size(costs.small_nbytes)}, unary",
            show.duration(costs.large_byte_s["unary"]),
        ),
        ("", "the same, on a stream", show.duration(costs.large_byte_s["stream"])),
        *(
            (symbol if size == min(costs.row_s) else "", f"{name}, hidden {size:,}", show.duration(taken))
            for symbol, name, by_size in (
                ("$c_r$", "a new state", costs.row_s),
                ("$c_p$", "a step that has new states", costs.step_s),
                ("$c_n$", "a new network", costs.network_s),
            )
            for size, taken in by_size.items()
        ),
        ("", "the SDK's caller, a message", show.duration(costs.client_message_s)),
        ("", "a bare stub's caller, a byte", show.duration(costs.client_byte_s)),
        ("", "the SDK's caller, a call among merged ones", show.duration(costs.client_merged_call_s)),
        ("", "an idle server process", show.size(costs.process_nbytes)),
    ]
    return show.markdown(("", "", "measured"), rows)


def check(figures: Figures) -> str:
    """Requests that the figures were not taken from."""
    rows = []
    for probe in figures.probes:
        for transport in ("unary", "stream"):
            if probe in FITTED:
                continue
            measured_s = figures.server_s(probe, transport)
            modelled_s = figures.modelled_s(probe, transport)
            rows.append(
                (
                    f"{probe}, {transport}",
                    show.duration(measured_s),
                    show.duration(modelled_s),
                    f"{modelled_s / measured_s:.2f}",
                )
            )
    return show.markdown(("", "measured", "modelled", "modelled / measured"), rows)


def loops(figures: Figures) -> str:
    """How much of the server's time is its event loop's, one thread; and how fast one process was."""
    rows = []
    for name, sides in figures.service.items():
        what, _, transport = name.partition("/")
        if what in {"message", "M", "bytes"}:
            share = sides["loop_s"].median / sides["server_s"].median
            title = {"message": "S", "bytes": "L"}.get(what, what)
            cores = (show.percent(share), f"{1 / share:.1f}")
            rates = (1 / sides["server_s"].median, 1 / sides["wall_s"].median)
            rows.append((f"{title}, {transport}", *cores, *map(show.significant, rates)))
    head = ("", "of the event loop", "cores that one process can use", "requests/s a core", "reached here")
    return show.markdown(head, rows)


def corpora(figures: Figures) -> str:
    """Words and their prefixes: how many, how large, how soon known."""
    size = hit_rates.HIDDEN_SIZE
    head = (
        *("words", "letters a word", "prefixes", f"all states, hidden {size}"),
        *(f"known after {show.rate(count)}" for count in WORD_COUNTS),
    )
    rows = [
        (
            f"{count:,}",
            f"{language.letters_per_word:.2f}",
            f"{language.prefix_count:,}",
            show.size(language.prefix_count * 4 * (size + 26) * Assumptions().table_slack),
            *(show.percent(1 - language.new_share(seen)) for seen in WORD_COUNTS),
        )
        for count, language in figures.corpora.items()
    ]
    return show.markdown(head, rows)


def spread(figures: Figures) -> str:
    """Simulated: hit rates by processes."""
    found = figures.simulated["by_processes"]
    rows = [
        (
            str(affine["process_count"]),
            show.percent(affine["state_hit_rate"]),
            show.percent(turned["state_hit_rate"]),
            show.percent(affine["network_hit_rate"]),
            show.percent(turned["network_hit_rate"]),
            f"{affine['busiest_over_mean']:.2f}",
        )
        for affine, turned in zip(found["affinity"], found["round_robin"], strict=True)
    ]
    head = (
        "processes",
        *("states known: affinity", "round_robin", "networks known: affinity", "round_robin"),
        "busiest / mean: affinity",
    )
    return show.markdown(head, rows)


def short(figures: Figures) -> str:
    """Memory that is short: the approximation beside the simulation."""
    rows = []
    for size, points in figures.simulated["by_memory"].items():
        for point in points:
            states, networks = approximated(figures, corpus_size=int(size), budget_mib=point["budget_mib"])
            simulated = (point["state_hit_rate"], point["network_hit_rate"])
            known = (simulated[0], states, simulated[1], networks)
            rows.append(
                (f"{int(size):,}", f"{point['budget_mib']:,} MiB", *(show.percent(share) for share in known))
            )
    head = (
        *("words", "memory", "states known: simulated", "approximated"),
        *("networks known: simulated", "approximated"),
    )
    return show.markdown(head, rows)


def approximated(figures: Figures, *, corpus_size: int, budget_mib: float) -> tuple[float, float]:
    """States and networks known in the second half of what was simulated, by Che's approximation."""
    language, assumptions = figures.corpora[corpus_size], Assumptions()
    shares = zipf_shares(hit_rates.NETWORK_COUNT, exponent=hit_rates.ZIPF_EXPONENT)
    memory = Memory(
        language=language,
        network_nbytes=figures.network_nbytes[hit_rates.HIDDEN_SIZE],
        row_nbytes=4 * (hit_rates.HIDDEN_SIZE + 26) * assumptions.table_slack,
    )
    half, whole = (
        memory.keep(
            Traffic(
                rates=shares * count,
                copies=np.ones(len(shares)),
                words=hit_rates.WORDS_A_REQUEST,
                lifetime_s=1,
            ),
            budget_nbytes=budget_mib * 2**20,
        )
        for count in (hit_rates.REQUEST_COUNT / 2, hit_rates.REQUEST_COUNT)
    )
    requests = hit_rates.REQUEST_COUNT / 2
    letters = requests * hit_rates.WORDS_A_REQUEST * language.letters_per_word
    return (
        1 - (whole.new_states - half.new_states) / letters,
        1 - (whole.drawn_networks - half.drawn_networks) / requests,
    )


def _reading(reading: Reading) -> tuple[str, ...]:
    return (
        show.duration(reading.median),
        show.duration(reading.low),
        show.duration(reading.high),
        str(reading.count),
    )
