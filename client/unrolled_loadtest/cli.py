"""The command `unrolled-load`: makes a plan from options, runs it, and writes reports."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from unrolled.option_groups import with_groups
from unrolled_client.cli.connect import exit_on_failure, read_access, target_of
from unrolled_client.cli.options import GroupedCommand, NetworkFlags, ServerFlags
from unrolled_client.cli.output_files import parse_path
from unrolled_client.errors import InvalidRequestError

from unrolled_loadtest.calibration import measure_ceiling
from unrolled_loadtest.interrupts import Interrupts
from unrolled_loadtest.max_rate import Goal, find_max_rate, parse_goal
from unrolled_loadtest.report.outputs import COMMAND, ReportFlags, open_reports
from unrolled_loadtest.report.terminal import live_view
from unrolled_loadtest.results.record import Record
from unrolled_loadtest.run import run
from unrolled_loadtest.workload.distributions import parse_distribution
from unrolled_loadtest.workload.plan import (
    Arrivals,
    ClosedLoop,
    Draw,
    Load,
    OpenLoop,
    Plan,
    RequestMix,
    Transport,
    Verify,
    parse_rate,
)
from unrolled_loadtest.workload.requests import make_workload

_T = TypeVar("_T")

_FAILED, _DIFFERENT, _NOT_MET, _NOT_REPORTED, _INTERRUPTED = 1, 2, 3, 4, 130
_MAX_WORDS, _MAX_INT32 = 1_000_000, 2**31 - 1
_DURATION_S, _WARMUP_S = 10.0, 2.0
_TRIAL_S, _TRIAL_WARMUP_S = 5.0, 1.0
_RATE = "100"
_MAX_IN_FLIGHT = 10_000

_words = partial(typer.Option, rich_help_panel="Words")
_network = partial(typer.Option, rich_help_panel="Network")
_load = partial(typer.Option, rich_help_panel="Load")
_count, _seconds = partial(_load, metavar="COUNT"), partial(_load, metavar="SECONDS")
_generator = partial(typer.Option, rich_help_panel="Generator")

_NUMBER = "NUMBER|RANGE"
_Size = Annotated[str, _network(metavar=_NUMBER, help="Units of the hidden state, as --words.")]
_Seed = Annotated[str, _network(metavar=_NUMBER, help="As for torch.manual_seed, as --words.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class WordFlags:
    """Options for the words of requests."""

    file: Annotated[
        str | None,
        _words(metavar="FILE", help="One word a line, or WORD TAB COUNT.  [default: some 300 English words]"),
    ] = None
    draw: Annotated[
        Draw, _words(help="How to draw words: all as likely, by the file's counts, or by rank in the file.")
    ] = "uniform"
    words: Annotated[
        str,
        _words(
            metavar=_NUMBER, help="Words in a request: 3, 1-8, geometric:4 (its mean), or choice:2,16,256."
        ),
    ] = "1-8"
    pool: Annotated[
        int, _words(metavar="COUNT", help="Requests to make before the load, and to draw from.")
    ] = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnNetworkFlags(NetworkFlags):
    """Options for the network; two of them are drawn for each request."""

    hidden_size: _Size = "16"  # type: ignore[assignment] # a distribution instead of a number
    seed: _Seed = "0"  # type: ignore[assignment] # see hidden_size


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadFlags:
    """Options for the load; None means the default, so that an option without effect is noticed."""

    rate: Annotated[
        str | None,
        _load(
            metavar="RATE",
            help="Requests per second, due whatever became of others: 500, steps 100,200,400 or a ramp "
            "100..1000.  [default: 100]",
        ),
    ] = None
    arrivals: Annotated[
        Arrivals | None, _load(help="Evenly spaced, or at random as from many callers.  [default: constant]")
    ] = None
    concurrency: Annotated[
        int | None, _count(help="Instead of a rate: callers who wait for an answer before they ask again.")
    ] = None
    find_max: Annotated[
        str | None,
        _load(
            metavar="TARGET", help="Search the highest rate that meets a target, as 'p99<50ms,errors<0.1%'."
        ),
    ] = None
    duration_s: Annotated[
        float | None, _seconds(help="Of the run; with --find-max of each trial.  [default: 10; 5 a trial]")
    ] = None
    warmup_s: Annotated[
        float | None, _seconds(help="The same load before, not counted.  [default: 2; 1 a trial]")
    ] = None
    transport: Annotated[
        Transport, _load(help="Unary calls, streams, or calls that the SDK merges into fewer.")
    ] = "unary"
    streams: Annotated[int | None, _count(help="Streams.  [default: 1 a process]")] = None
    connections: Annotated[int | None, _count(help="Connections.  [default: 1 a process]")] = None
    max_in_flight: Annotated[
        int | None, _count(help="Requests without an answer; others wait and are late.  [default: 10000]")
    ] = None
    verify: Annotated[Verify, _load(help="Whether to check that equal requests get equal answers.")] = "bits"


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratorFlags:
    """Options for the generator."""

    processes: Annotated[int, _generator(metavar="COUNT", help="Worker processes.")] = 1
    calibrate: Annotated[
        bool, _generator("--calibrate", help="First measure the generator against an echo server.")
    ] = False
    run_seed: Annotated[int, _generator(metavar="SEED", help="Seed of everything that is drawn.")] = 0


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,  # plain help: boxes leave half of 80 columns to the text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command."""
    app(prog_name=COMMAND)


def _print_version(is_asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if is_asked:
        typer.echo(f"{COMMAND} {version('unrolled')}")
        raise typer.Exit


@app.command(cls=GroupedCommand)
@with_groups
def load(  # noqa: PLR0913 - a group for each section of its help
    *,
    words: WordFlags,
    network: DrawnNetworkFlags,
    load: LoadFlags,
    generator: GeneratorFlags,
    reports: ReportFlags,
    server: ServerFlags,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Load a server and measure it, from when requests are due.

    Example: unrolled-load --rate 500 --duration-s 30 --html load.html

    Exit codes: 0 done; 1 the server is unavailable or gone, or answered nothing; 2 an answer differed in
    bits, or the command line is wrong; 3 no rate met the target; 4 a report could not be written; 130
    interrupted by Ctrl-C, SIGTERM or SIGHUP, with a report of what was measured.
    """
    try:
        with Interrupts() as interrupts, exit_on_failure(COMMAND), _usage_errors():
            _refuse_options_without_effect(load, generator, reports)
            with open_reports(reports, inputs=_input_files(words, network, server)) as outputs:
                plan = _plan(words, network, load, generator=generator, server=server)
                goal = None if load.find_max is None else parse_goal(load.find_max)
                workload = make_workload(plan.request_mix, seed=plan.seed)
                ceiling_per_s = measure_ceiling(plan, interrupts=interrupts) if generator.calibrate else None
                run_plan = partial(
                    run,
                    raw_log=outputs.raw_log,
                    workload=workload,
                    ceiling_per_s=ceiling_per_s,
                    interrupts=interrupts,
                )
                record = _measure(plan, goal, partial(_run_live, run_plan) if reports.live else run_plan)
                outputs.write(record)
    except KeyboardInterrupt:  # before there was anything to report, or a second signal
        raise typer.Exit(_INTERRUPTED) from None
    raise typer.Exit(_exit_code(record, are_reports_complete=outputs.are_complete))


@contextmanager
def _usage_errors() -> Iterator[None]:
    """Turns invalid arguments into usage errors."""
    try:
        yield
    except InvalidRequestError as error:
        raise typer.BadParameter(str(error)) from None


def _refuse_options_without_effect(load: LoadFlags, generator: GeneratorFlags, reports: ReportFlags) -> None:
    """Refuses an option that another one makes useless, and names both."""
    is_closed_loop, transport = load.concurrency is not None, f"--transport {load.transport}"
    closed_loop = is_closed_loop, "--concurrency", "a closed loop has no rate"
    no_limit = is_closed_loop, "--concurrency", "that is the number of requests in flight"
    no_streams = load.transport != "stream", transport, "only --transport stream has streams"
    merged = load.transport == "merged", transport, "an echo server cannot answer merged calls"
    search = load.find_max is not None, "--find-max", "it is for one run, and a search makes many"
    for option, is_given, (is_useless, other, reason) in (
        ("--rate", load.rate is not None, closed_loop),
        ("--find-max", load.find_max is not None, closed_loop),
        ("--arrivals", load.arrivals is not None, closed_loop),
        ("--max-in-flight", load.max_in_flight is not None, no_limit),
        ("--streams", load.streams is not None, no_streams),
        ("--calibrate", generator.calibrate, merged),
        ("--raw-log", reports.raw_log is not None, search),
    ):
        if is_given and is_useless:
            raise typer.BadParameter(f"{option} has no effect with {other}: {reason}; leave out one of them")
    if load.connections is not None and 0 < load.connections < generator.processes:
        raise typer.BadParameter(
            f"--connections is {load.connections}, but each of {generator.processes} --processes needs one"
        )


def _input_files(
    words: WordFlags, network: DrawnNetworkFlags, server: ServerFlags
) -> Mapping[str, str | Path]:
    """Returns the files that the command reads, by their options."""
    files: dict[str, str | Path | None] = {
        "--root-certificates": server.root_certificates,
        "--certificate": server.certificate,
        "--key": server.key,
        "--token-file": server.token_file,
        "--vectors": (network.vectors or "").partition("=")[2] or None,
        "--file": None if words.file is None else parse_path("--file", words.file),
    }
    return {option: file for option, file in files.items() if file is not None}


def _plan(
    words: WordFlags,
    network: DrawnNetworkFlags,
    load: LoadFlags,
    *,
    generator: GeneratorFlags,
    server: ServerFlags,
) -> Plan:
    is_trial = load.find_max is not None
    if network.has_vector_file:
        name = network.vector_table
        raise typer.BadParameter(
            f"--vectors {network.vectors} names a file, which the server reads: start unrolled-server with "
            f"it, and give --vectors {name}"
        )
    return Plan(
        command=shlex.join([COMMAND, *sys.argv[1:]]),
        target=target_of(server),
        access=read_access(server),
        spread=server.spread,
        request_mix=_request_mix(words, network),
        load=_load_shape(load),
        transport=load.transport,
        warmup_s=_or_default(load.warmup_s, _TRIAL_WARMUP_S if is_trial else _WARMUP_S),
        process_count=generator.processes,
        connection_count=_or_default(load.connections, generator.processes),
        stream_count=_or_default(load.streams, generator.processes),
        max_in_flight=_or_default(load.max_in_flight, _MAX_IN_FLIGHT),
        timeout_s=server.timeout_s,
        verify=load.verify,
        seed=generator.run_seed,
    )


def _request_mix(words: WordFlags, network: DrawnNetworkFlags) -> RequestMix:
    return RequestMix(
        words_per_request=parse_distribution(words.words, name="--words", low=1, high=_MAX_WORDS),
        hidden_size=parse_distribution(network.hidden_size, name="--hidden-size", low=1, high=_MAX_INT32),
        seed=parse_distribution(network.seed, name="--seed"),
        words_file=None if words.file is None else parse_path("--file", words.file),
        draw=words.draw,
        alphabet=network.alphabet,
        layout=network.layout,
        network=network.options(),
        pool_count=words.pool,
    )


def _load_shape(load: LoadFlags) -> Load:
    is_trial = load.find_max is not None
    duration_s = _or_default(load.duration_s, _TRIAL_S if is_trial else _DURATION_S)
    if load.concurrency is not None:
        return ClosedLoop(concurrency=load.concurrency, duration_s=duration_s)
    segments = parse_rate(_or_default(load.rate, _RATE), duration_s=duration_s)
    if is_trial and (len(segments) > 1 or segments[0].from_per_s != segments[0].to_per_s):
        raise InvalidRequestError(f"--find-max begins at one rate; --rate is {load.rate!r}")
    return OpenLoop(segments=segments, arrivals=load.arrivals or "constant")


def _or_default(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _measure(plan: Plan, goal: Goal | None, run_plan: Callable[[Plan], Record]) -> Record:
    if goal is None:
        return run_plan(plan)
    assert isinstance(plan.load, OpenLoop)  # noqa: S101 - see _load_shape
    return find_max_rate(plan, goal, first_per_s=plan.load.segments[0].from_per_s, run=run_plan)


def _run_live(run_plan: Callable[..., Record], plan: Plan) -> Record:
    with live_view(f"{plan.load} · {plan.transport} · {plan.target}", plan.load.duration_s) as view:
        return run_plan(plan, view.update)


def _exit_code(record: Record, *, are_reports_complete: bool) -> int:
    if record.verification.differing_count:
        return _DIFFERENT
    if record.ending == "interrupted":
        return _INTERRUPTED
    if record.ending != "done" or not record.answered_count:
        return _FAILED
    if not are_reports_complete:
        return _NOT_REPORTED
    return _NOT_MET if record.search is not None and record.search.found_per_s is None else 0
