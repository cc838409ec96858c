"""The command `unrolled load`: options to a plan, and its record to reports.

A file of its own because it has more options than all other commands together.
"""

import importlib.util
import json
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from unrolled_client.cli.options import NetworkFlags, ServerFlags, as_output
from unrolled_client.cli.servers import access_of, reporting, target_of
from unrolled_client.errors import InvalidRequestError

if TYPE_CHECKING:
    from unrolled_client.load.plan import Load, Plan, Questions
    from unrolled_client.load.record import Record
    from unrolled_client.load.search import Goal

_DURATION_S, _WARMUP_S = 10.0, 2.0
_TRIAL_S, _TRIAL_WARMUP_S = 5.0, 1.0
_RATE = "100"

_words = partial(typer.Option, rich_help_panel="Words")
_network = partial(typer.Option, rich_help_panel="Network")
_load = partial(typer.Option, rich_help_panel="Load")
_generator = partial(typer.Option, rich_help_panel="Generator")

_AMOUNT = "NUMBER|RANGE"
_Size = Annotated[str, _network(metavar=_AMOUNT, help="Units of the hidden state, as --words.")]
_Seed = Annotated[str, _network(metavar=_AMOUNT, help="As for torch.manual_seed, as --words.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawFlags:
    """Which words are asked about."""

    file: Annotated[
        Path | None,
        _words(metavar="FILE", help="One word a line, or WORD TAB COUNT.  [default: some 300 English words]"),
    ] = None
    draw: Annotated[
        Literal["uniform", "frequency", "zipf"],
        _words(help="How: each as likely, by the file's counts, or by rank in the file."),
    ] = "uniform"
    words: Annotated[
        str,
        _words(
            metavar=_AMOUNT, help="Words in a request: 3, 1-8, geometric:4 (its mean), or choice:2,16,256."
        ),
    ] = "1-8"
    pool: Annotated[
        int, _words(metavar="COUNT", help="Requests that are made before the clock starts, to draw from.")
    ] = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNetworkFlags(NetworkFlags):
    """The options of a network, of which two are drawn for each request."""

    hidden_size: _Size = "16"  # type: ignore[assignment] # drawn, so no one number
    seed: _Seed = "0"  # type: ignore[assignment] # likewise


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFlags:
    """How often, and how requests travel."""

    rate: Annotated[
        str | None,
        _load(
            metavar="RATE",
            help="Requests per second, due whatever became of others: 500, steps 100,200,400 or a ramp "
            "100..1000.  [default: 100]",
        ),
    ] = None
    arrivals: Annotated[
        Literal["constant", "poisson"], _load(help="Evenly spaced, or at random as from many callers.")
    ] = "constant"
    concurrency: Annotated[
        int | None,
        _load(metavar="COUNT", help="Instead of a rate: callers who ask again once they are answered."),
    ] = None
    find_max: Annotated[
        str | None,
        _load(
            metavar="TARGET",
            help="Search the highest rate that meets a target such as 'p99<50ms,errors<0.1%'.",
        ),
    ] = None
    duration_s: Annotated[
        float | None,
        _load(metavar="SECONDS", help="How long; with --find-max each trial.  [default: 10; 5 a trial]"),
    ] = None
    warmup_s: Annotated[
        float | None,
        _load(metavar="SECONDS", help="The same load before, not counted.  [default: 2; 1 a trial]"),
    ] = None
    transport: Annotated[
        Literal["unary", "stream", "merged"], _load(help="Calls, streams, or calls that the SDK merges.")
    ] = "unary"
    streams: Annotated[int | None, _load(metavar="COUNT", help="Streams.  [default: 1 a process]")] = None
    connections: Annotated[
        int | None, _load(metavar="COUNT", help="Connections.  [default: 1 a process]")
    ] = None
    max_in_flight: Annotated[
        int, _load(metavar="COUNT", help="Requests without an answer; what is beyond is late.")
    ] = 10_000
    verify: Annotated[
        Literal["bits", "off"], _load(help="Whether equal requests must have equal answers.")
    ] = "bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorFlags:
    """What makes the load."""

    processes: Annotated[int, _generator(metavar="COUNT", help="Processes that send.")] = 1
    calibrate: Annotated[
        bool, _generator("--calibrate", help="First measure what they can do, against an echo server.")
    ] = False
    run_seed: Annotated[int, _generator(metavar="SEED", help="Of all that is drawn.")] = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlags:
    """What is told of it."""

    as_json: Annotated[bool, as_output("--json", help="Print one line of JSON instead of tables.")] = False
    html: Annotated[Path | None, as_output(metavar="FILE", help="Write a report for a browser.")] = None
    hdr_log: Annotated[Path | None, as_output(metavar="FILE", help="Write an HdrHistogram log.")] = None
    raw_log: Annotated[
        Path | None, as_output(metavar="FILE", help="Write a line for each request: due, sent, done, code.")
    ] = None
    live: Annotated[bool, as_output(help="Show how it goes, on a terminal.")] = True


def load(  # noqa: PLR0913 - a group for each section of its help
    *,
    words: DrawFlags,
    network: DrawnNetworkFlags,
    load: LoadFlags,
    generator: GeneratorFlags,
    reports: ReportFlags,
    server: ServerFlags,
) -> None:
    """Load a server and measure it, from when requests are due.

    Example: unrolled load --rate 500 --duration-s 30 --html load.html

    Exit codes: 0 done; 1 no server, or none any more, or no answer; 2 an answer differed in bits, or the
    command line is wrong; 3 no rate met the target; 130 interrupted, with what was measured.
    """
    _require_packages()
    goal, asks, shape = _read(words, network, load)
    with reporting(), target_of(server, network) as target:
        plan = _plan(target, asks, shape, load=load, generator=generator, reports=reports, server=server)
        try:
            record = _measure(plan, goal, generator=generator, reports=reports)
        except KeyboardInterrupt:  # before there was anything to report
            raise typer.Exit(130) from None
        _tell(record, reports)
    raise typer.Exit(_exit_code(record))


def _require_packages() -> None:
    if importlib.util.find_spec("hdrh") is None:
        typer.echo(
            "unrolled: load needs a package that is not installed (hdrh): pip install 'unrolled[load]'",
            err=True,
        )
        raise typer.Exit(2)


def _read(
    words: DrawFlags, network: DrawnNetworkFlags, load: LoadFlags
) -> "tuple[Goal | None, Questions, Load]":
    """What the options ask for.

    Raises:
        typer.BadParameter: One of them is none, or they do not go together.
    """
    from unrolled_client.load.search import parse_goal  # noqa: PLC0415 - loaded when asked for

    if load.concurrency is not None and (load.rate is not None or load.find_max is not None):
        raise typer.BadParameter("--concurrency has no rate: give it without --rate and --find-max")
    try:
        goal = None if load.find_max is None else parse_goal(load.find_max)
        return goal, _questions(words, network), _shape(load, is_trial=goal is not None)
    except InvalidRequestError as error:
        raise typer.BadParameter(str(error)) from None


def _questions(words: DrawFlags, network: DrawnNetworkFlags) -> "Questions":
    from unrolled_client.load.amounts import parse_amount  # noqa: PLC0415 - loaded when asked for
    from unrolled_client.load.plan import Questions  # noqa: PLC0415

    return Questions(
        words_per_request=parse_amount(words.words, name="--words", at_least=1),
        hidden_size=parse_amount(network.hidden_size, name="--hidden-size"),
        seed=parse_amount(network.seed, name="--seed"),
        words_file=words.file,
        draw=words.draw,
        alphabet=network.alphabet,
        layout=network.layout,
        network=network.options(),
        pool_count=words.pool,
    )


def _shape(load: LoadFlags, *, is_trial: bool) -> "Load":
    from unrolled_client.load.plan import ClosedLoop, OpenLoop, parse_rate  # noqa: PLC0415 - as above

    duration_s = load.duration_s or (_TRIAL_S if is_trial else _DURATION_S)
    if load.concurrency is not None:
        return ClosedLoop(concurrency=load.concurrency, duration_s=duration_s)
    pieces = parse_rate(load.rate or _RATE, duration_s=duration_s)
    if is_trial and (len(pieces) > 1 or pieces[0].from_per_s != pieces[0].to_per_s):
        raise InvalidRequestError(f"--find-max begins at one rate; --rate is {load.rate!r}")
    return OpenLoop(pieces=pieces, arrivals=load.arrivals)


def _plan(  # noqa: PLR0913 - all groups of options meet here
    target: str,
    asks: "Questions",
    shape: "Load",
    *,
    load: LoadFlags,
    generator: GeneratorFlags,
    reports: ReportFlags,
    server: ServerFlags,
) -> "Plan":
    from unrolled_client.load.plan import Plan  # noqa: PLC0415 - loaded when asked for

    warmup_s = _WARMUP_S if load.find_max is None else _TRIAL_WARMUP_S
    return Plan(
        command=shlex.join(["unrolled", *sys.argv[1:]]),
        target=target,
        access=access_of(server),
        spread=server.spread,
        questions=asks,
        load=shape,
        transport=load.transport,
        warmup_s=warmup_s if load.warmup_s is None else load.warmup_s,
        process_count=generator.processes,
        connection_count=load.connections or generator.processes,
        stream_count=load.streams or generator.processes,
        max_in_flight=load.max_in_flight,
        timeout_s=server.timeout_s,
        verify=load.verify,
        seed=generator.run_seed,
        raw_log=reports.raw_log,
    )


def _measure(
    plan: "Plan", goal: "Goal | None", *, generator: GeneratorFlags, reports: ReportFlags
) -> "Record":
    from unrolled_client.load.calibrate import ceiling_of  # noqa: PLC0415 - loaded when asked for
    from unrolled_client.load.search import find_max  # noqa: PLC0415

    ceiling_per_s = ceiling_of(plan) if generator.calibrate else None
    run = partial(_run, ceiling_per_s=ceiling_per_s, is_live=reports.live)
    if goal is None:
        return run(plan)
    first_per_s = plan.load.pieces[0].from_per_s  # type: ignore[union-attr] # see _shape
    return find_max(plan, goal, first_per_s=first_per_s, run=run)


def _run(plan: "Plan", *, ceiling_per_s: float | None, is_live: bool) -> "Record":
    from unrolled_client.load.run import run  # noqa: PLC0415 - loaded when asked for
    from unrolled_client.load.view import live  # noqa: PLC0415

    if not is_live:
        return run(plan, ceiling_per_s=ceiling_per_s)
    with live(f"{plan.load} · {plan.transport} · {plan.target}", plan.load.duration_s) as view:
        return run(plan, view.update, ceiling_per_s=ceiling_per_s)


def _tell(record: "Record", reports: ReportFlags) -> None:
    from unrolled_client.load import hdr_log, json_form, page, view  # noqa: PLC0415 - loaded when asked for

    if reports.html is not None:
        page.write(record, reports.html)
    if reports.hdr_log is not None:
        hdr_log.write(record, reports.hdr_log)
    if reports.as_json:
        typer.echo(json.dumps(json_form.to_json(record)))
    else:
        view.show(record)


def _exit_code(record: "Record") -> int:
    if record.verification.differing_count:
        return 2
    if record.ending == "interrupted":
        return 130
    if record.ending == "server gone" or not record.answered_count:
        return 1
    return 3 if record.search is not None and record.search.found_per_s is None else 0
