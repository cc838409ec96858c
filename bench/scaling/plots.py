"""The drawings of docs/scaling.md: SVG without a background, in colours that stand on white and on black."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from bench.scaling.figure_tables import approximated
from bench.scaling.figures import Figures
from bench.scaling.language import Language
from bench.scaling.model import Model
from bench.scaling.scenarios import SCENARIOS
from bench.scaling.tables import CORPUS_SIZE

FOLDER = Path(__file__).parents[2] / "docs/scaling"
INK = "#7d8590"
COLORS = ("#2f81f7", "#db6d28", "#3fb950", "#a371f7", "#e5534b", "#1b9aaa")
PARTS = ("messages", "letters", "bytes", "new states", "new networks")
_LOOK = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": mpl.cycler(color=COLORS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "font.size": 10,
    "grid.alpha": 0.3,
    "grid.color": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "unrolled",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def write(figures: Figures, folder: Path = FOLDER) -> None:
    """Draws all of them."""
    model = Model(costs=figures.costs(), language=figures.corpora[CORPUS_SIZE])
    with _axes(folder / "processes.svg") as axes:
        _processes(axes, model)
    with _axes(folder / "parts.svg", height=2.9) as axes:
        _parts(axes, model)
    with _axes(folder / "by_traffic.svg") as axes:
        _by_traffic(axes, figures)
    with _axes(folder / "by_memory.svg") as axes:
        _by_memory(axes, figures)
    with _axes(folder / "by_processes.svg") as axes:
        _by_processes(axes, figures)


@contextmanager
def _axes(path: Path, *, height: float = 3.8) -> Iterator[Axes]:
    with mpl.rc_context(_LOOK):
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axes = figure.subplots()
        yield axes
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        # Lines of the file end in no blanks, as elsewhere in the repository.
        path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _processes(axes: Axes, model: Model) -> None:
    rates = np.logspace(2, 7, 16)
    for scenario in SCENARIOS:
        counts = [model.answer(scenario, rate=rate).process_count for rate in rates.tolist()]
        axes.loglog(rates, counts, label=scenario.name)
    axes.set(xlabel="requests/s", ylabel="processes, one a core", title="What serves a rate")
    axes.grid(visible=True)
    axes.legend(loc="upper left")


def _parts(axes: Axes, model: Model) -> None:
    left = np.zeros(len(SCENARIOS))
    answers = [model.answer(scenario, rate=1e5) for scenario in SCENARIOS]
    names = [scenario.name for scenario in SCENARIOS]
    for part in PARTS:
        shares = np.array([answer.parts_s.get(part, 0.0) / answer.request_s for answer in answers])
        axes.barh(names, shares, left=left, label=part, height=0.65)
        left += shares
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set(title="Where the server's processor time goes, at 100,000 requests/s", xlim=(0, 1))
    axes.legend(ncols=len(PARTS), loc="upper center", bbox_to_anchor=(0.45, -0.12), columnspacing=1.2)


def _by_traffic(axes: Axes, figures: Figures) -> None:
    for color, (size, language) in zip(COLORS, figures.corpora.items(), strict=False):
        words, new = _new_shares(language)
        axes.loglog(words, new, color=color, label=f"{size:,} different words")
        seen, known = zip(*figures.simulated["by_traffic"][str(size)], strict=True)
        middles = np.array(seen) * 0.75  # a point tells of the words since half as many
        axes.loglog(middles[1:], 1 - np.array(known[1:]), "o", color=color, markersize=3.5)
    axes.set(
        xlabel="words that a network has met",
        ylabel="letters whose state is new",
        title="How soon states repeat: lines by the closed form, points simulated",
        xlim=(10, 1e10),
        ylim=(1e-6, 1.1),
    )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    axes.grid(visible=True)
    axes.legend(loc="lower left")


def _new_shares(language: Language) -> tuple[np.ndarray, np.ndarray]:
    """Between every two points of the curve: words, and the share of their letters that is new."""
    words, distinct = np.array(language.words_seen), np.array(language.distinct_prefixes)
    letters = np.diff(words) * language.letters_per_word
    middles = (words[1:] + words[:-1]) / 2
    new = np.diff(distinct) / letters
    return middles[new > 0], new[new > 0]


def _by_memory(axes: Axes, figures: Figures) -> None:
    (size, points), *_ = reversed(figures.simulated["by_memory"].items())
    budgets = [point["budget_mib"] for point in points]
    between = np.logspace(np.log2(budgets[0]), np.log2(budgets[-1]), 25, base=2)
    modelled = [approximated(figures, corpus_size=int(size), budget_mib=mib) for mib in between.tolist()]
    for color, side, rates in zip(COLORS, ("state", "network"), zip(*modelled, strict=True), strict=False):
        simulated = [point[f"{side}_hit_rate"] for point in points]
        axes.plot(budgets, simulated, "o", color=color, label=f"{side}s known, simulated")
        axes.plot(between, rates, color=color, label=f"{side}s known, approximated")
    _scale_as_rates_over_doublings(axes)
    axes.set(
        xlabel="state memory of one process, MiB",
        title="Memory that is short: 400 networks of hidden size 256, requests of 64 words",
    )


def _by_processes(axes: Axes, figures: Figures) -> None:
    for color, (policy, points) in zip(COLORS, figures.simulated["by_processes"].items(), strict=False):
        counts = [point["process_count"] for point in points]
        for side, line in (("state", "o-"), ("network", "o--")):
            rates = [point[f"{side}_hit_rate"] for point in points]
            axes.plot(counts, rates, line, color=color, label=f"{side}s known, {policy}")
    _scale_as_rates_over_doublings(axes)
    axes.set(xlabel="processes, each with the same memory", title="The same traffic over more processes")


def _scale_as_rates_over_doublings(axes: Axes) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0, 1.03)
    axes.grid(visible=True)
    axes.legend(loc="lower right")
