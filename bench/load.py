"""A short session of the load tester against a local server: `make load`, a minute and a half.

Measures the generator's maximum, the highest rate that meets a target, and the latency at shares of that
rate. Arrivals are random, as those of many callers. Generator and server share the machine.
"""

import argparse
import shlex
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from servers import server_process
from unrolled_loadtest.calibration import measure_ceiling
from unrolled_loadtest.max_rate import find_max_rate, parse_goal
from unrolled_loadtest.report import html, terminal
from unrolled_loadtest.results.record import Record, Trial
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.distributions import parse_distribution
from unrolled_loadtest.workload.plan import OpenLoop, Plan, RequestMix, parse_rate

GOAL = "p99<50ms,errors<0.1%"
SHARES = (0.3, 0.6, 0.9)
FIRST_PER_S = 1_000.0
TRIAL_S, MEASURED_S = 3.0, 10.0
PERCENTS = (50, 99, 99.9)
WORDS, HIDDEN_SIZE = "1-8", "16"
COMMAND = f"unrolled-load --words {WORDS} --hidden-size {HIDDEN_SIZE} --arrivals poisson"


def main() -> int:
    """Prints the results; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transport", choices=("unary", "stream"), default="unary")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--html", type=Path, help="a directory for the reports")
    options = parser.parse_args()
    if options.html is not None:
        options.html.mkdir(parents=True, exist_ok=True)  # before a minute of work, which would be lost
    console = Console()
    with server_process("127.0.0.1:0") as target:
        records = _measure(_plan(target, options), console)
    _print_results(records, console)
    if options.html is not None:
        for name, record in records.items():
            (options.html / f"{name}.html").write_text(html.render(record), encoding="utf-8")
    return 2 if any(record.verification.differing_count for record in records.values()) else 0


def _plan(target: str, options: argparse.Namespace) -> Plan:
    return Plan(
        target=target,
        request_mix=RequestMix(
            words_per_request=parse_distribution(WORDS, name="words"),
            hidden_size=parse_distribution(HIDDEN_SIZE, name="hidden_size"),
            seed=parse_distribution("0", name="seed"),
        ),
        load=OpenLoop(segments=parse_rate(f"{FIRST_PER_S}", duration_s=TRIAL_S), arrivals="poisson"),
        transport=options.transport,
        warmup_s=1.0,
        process_count=options.processes,
        stream_count=options.processes,
        connection_count=options.processes,
        command=shlex.join([*COMMAND.split(), "--transport", options.transport]),
    )


def _measure(plan: Plan, console: Console) -> Mapping[str, Record]:
    """Returns the record of the search, and one for each share of the rate that it found."""
    ceiling_per_s = measure_ceiling(plan)
    console.print(f"The generator's own ceiling, against an echo server: {ceiling_per_s:,.0f}/s")
    run_plan = partial(run, ceiling_per_s=ceiling_per_s)
    goal = parse_goal(GOAL)
    searched = replace(
        plan, command=f"{plan.command} --find-max {shlex.quote(GOAL)} --duration-s {TRIAL_S:g}"
    )
    found = find_max_rate(
        searched, goal, first_per_s=FIRST_PER_S, run=run_plan, on_trial=partial(_print_trial, console=console)
    )
    assert found.search is not None  # noqa: S101 - find_max_rate sets it
    records = {"find-max": found}
    for share in SHARES if found.search.found_per_s else ():
        rate = f"{share * found.search.found_per_s:.0f}"
        load = OpenLoop(segments=parse_rate(rate, duration_s=MEASURED_S), arrivals="poisson")
        command = f"{plan.command} --rate {rate} --duration-s {MEASURED_S:g}"
        records[f"{share * 100:.0f}-percent"] = run_plan(replace(plan, load=load, command=command))
    return records


def _print_trial(trial: Trial, *, console: Console) -> None:
    console.print(
        f"  {trial.rate_per_s:,.0f}/s offered, {trial.achieved_per_s:,.0f}/s answered, "
        f"p99 {trial.percentile_s * 1e3:.1f} ms: {'met' if trial.is_met else 'missed'}"
    )


def _print_results(records: Mapping[str, Record], console: Console) -> None:
    """Prints the tables of the search, and one with a row for each share."""
    console.print()
    terminal.show(records["find-max"], console=console)
    shares = {name: record for name, record in records.items() if record.search is None}
    console.print("\nAt shares of that rate, latency in ms from intended times:\n")
    percentiles = (f"p{percent:g}" for percent in PERCENTS)
    columns = ("", "offered/s", "achieved/s", *percentiles, "errors", "bits")
    table = Table(*columns, box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for name, record in shares.items():
        table.add_row(name.replace("-percent", " %"), *_cells(record))
    console.print(table)
    for name, record in shares.items():
        if record.generator.bound_by is not None:
            console.print(f"{name}: bounded by the generator: {record.generator.bound_by}")
    console.print("\nThe same with a server of your own, by --target HOST:PORT:")
    for record in records.values():
        console.print(f"  {record.command}", soft_wrap=True, highlight=False)


def _cells(record: Record) -> list[str]:
    return [
        f"{record.offered_per_s:,.0f}",
        f"{record.achieved_per_s:,.0f}",
        *(f"{record.latency.percentile(percent) * 1e3:.2f}" for percent in PERCENTS),
        f"{record.error_count:,}",
        "differ" if record.verification.differing_count else f"equal ({record.verification.checked_count:,})",
    ]


if __name__ == "__main__":
    sys.exit(main())
