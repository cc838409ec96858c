"""`python -m bench.scaling`: measures, simulates, and writes docs/scaling: figures, plots and tables.

With `--keep-figures` nothing is measured: plots and tables are made again from figures.json.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch
from unrolled_loadtest.results.environment import describe_machine

from bench.scaling import hit_rates, page, plots, tables
from bench.scaling.corpus import Corpus, english
from bench.scaling.figures import Figures, Probed
from bench.scaling.language import Language
from bench.scaling.measure_engine import engine_readings, network_nbytes
from bench.scaling.measure_service import PROBES, Probe, readings, service_costs


def main(arguments: Sequence[str] | None = None) -> int:
    """Does it; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    parser.add_argument("--keep-figures", action="store_true", help="measure and simulate nothing")
    parser.add_argument("--keep-simulation", action="store_true", help="measure, but simulate nothing")
    parser.add_argument("--rounds", type=int, default=9, help="readings of each request to the server")
    parser.add_argument("--budget-s", type=float, default=20.0, help="seconds for the engine's figures")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if not options.keep_figures:
        _take(options).write()
    figures = Figures.read()
    page.write(tables.all_tables(figures))
    plots.write(figures)
    print(f"wrote {page.PATH} and {plots.FOLDER}")
    return 0


def _take(options: argparse.Namespace) -> Figures:
    """Takes all figures, measured and simulated; a minute and a half."""
    if options.keep_simulation:
        before = Figures.read()
        corpora, simulated = before.corpora, before.simulated
    else:
        print("simulating ...", flush=True)
        corpora, simulated = _simulate()
    print("measuring the engine ...", flush=True)
    engine = engine_readings(budget_s=options.budget_s)
    print("measuring a server ...", flush=True)
    idle_nbytes, costs = service_costs(rounds=options.rounds)
    return Figures(
        taken=f"{datetime.now(UTC):%Y-%m-%d}",
        machine={**describe_machine(), "torch": version("torch"), "numpy": version("numpy")},
        idle_nbytes=idle_nbytes,
        network_nbytes=network_nbytes(),
        engine=engine,
        service=readings(costs),
        probes={name: _probed(probe) for name, probe in PROBES.items()},
        corpora=corpora,
        simulated=simulated,
    )


def _simulate() -> tuple[Mapping[int, Language], Mapping[str, Any]]:
    nbytes = network_nbytes()[hit_rates.HIDDEN_SIZE]
    corpora: dict[int, Corpus] = {size: english(size) for size in hit_rates.CORPUS_SIZES}
    spread = english(hit_rates.SPREAD_CORPUS_SIZE)
    return {size: hit_rates.language(corpus) for size, corpus in corpora.items()}, {
        "by_traffic": {
            str(size): hit_rates.simulated_by_traffic(corpus, base_nbytes=nbytes)
            for size, corpus in corpora.items()
        },
        "by_memory": {
            str(size): hit_rates.by_memory(corpora[size], base_nbytes=nbytes)
            for size in hit_rates.CORPUS_SIZES[1:]
        },
        "by_processes": hit_rates.by_processes(spread, base_nbytes=nbytes),
    }


def _probed(probe: Probe) -> Probed:
    prefixes = {word[: end + 1] for word in probe.words for end in range(len(word))}
    return Probed(
        letters=probe.letter_count,
        hidden_size=probe.hidden_size,
        new_rows=len(prefixes) * probe.is_new,
        steps=max(map(len, probe.words)) * probe.is_new,
    )


if __name__ == "__main__":
    sys.exit(main())
