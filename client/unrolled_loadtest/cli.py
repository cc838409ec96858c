"""The command `unrolled-load`: options to a plan, and the plan's run to reports."""

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer
from unrolled.entry_points import describe_missing
from unrolled.option_groups import with_groups
from unrolled_client.cli.connect import choose_target, exit_on_failure, read_access, report
from unrolled_client.cli.options import GroupedCommand, NetworkFlags, ServerFlags
from unrolled_client.cli.output_files import parse_path
from unrolled_client.errors import InvalidRequestError

from unrolled_loadtest.report.outputs import ReportFlags, Reports

if TYPE_CHECKING:
    from unrolled_loadtest.interrupts import Interrupts
    from unrolled_loadtest.max_rate import Goal
    from unrolled_loadtest.report.raw_log import RawLog
    from unrolled_loadtest.results.record import Record
    from unrolled_loadtest.workload.plan import Load, Plan, Questions
    from unrolled_loadtest.workload.requests import Workload

_T = TypeVar("_T")

_FAILED, _DIFFERENT, _NOT_MET, _NOT_REPORTED, _INTERRUPTED = 1, 2, 3, 4, 130
_MAX_WORDS, _MAX_INT32 = 1_000_000, 2**31 - 1
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
        str | None,
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


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,  # plain help: boxes leave half of 80 columns to the text
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command."""
    app(prog_name="unrolled-load")


@app.command(cls=GroupedCommand)
@with_groups
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

    Example: unrolled-load --rate 500 --duration-s 30 --html load.html

    Exit codes: 0 done; 1 no server, or none any more, or no answer; 2 an answer differed in bits, or the
    command line is wrong; 3 no rate met the target; 4 a report could not be written; 130 interrupted (by
    Ctrl-C, SIGTERM or SIGHUP), with what was measured.
    """
    _require_packages()
    from unrolled_loadtest.interrupts import Interrupts  # noqa: PLC0415 - loaded when asked for

    try:
        with Interrupts() as interrupts, Reports(reports) as outputs, exit_on_failure(), _refusing():
            task = _task(words, network, load, generator=generator, server=server)
            if task.goal is not None and outputs.raw_log is not None:
                raise typer.BadParameter(
                    "--raw-log is for one run; --find-max makes many, so give one of them"
                )
            with choose_target(server, network) as target:
                measure = partial(_measure, task, target, interrupts=interrupts, raw_log=outputs.raw_log)
                record = measure(is_calibrated=generator.calibrate, is_live=reports.live)
                outputs.write(record)
    except KeyboardInterrupt:  # before there was anything to report, or for the second time
        raise typer.Exit(_INTERRUPTED) from None
    raise typer.Exit(_exit_code(record, are_reports_complete=outputs.are_complete))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is asked for, but for the target.

    Attributes:
        plan: Of the run, or of each trial.
        workload: The plan's requests.
        goal: Of a search; None for one run.
    """

    plan: "Plan"
    workload: "Workload"
    goal: "Goal | None"


def _require_packages() -> None:
    if missing := describe_missing("load"):
        report(missing)
        raise typer.Exit(2)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turns arguments that cannot be into a wrong command line.

    Raises:
        typer.BadParameter: One was found.
    """
    try:
        yield
    except InvalidRequestError as error:
        raise typer.BadParameter(str(error)) from None


def _task(
    words: DrawFlags,
    network: DrawnNetworkFlags,
    load: LoadFlags,
    *,
    generator: GeneratorFlags,
    server: ServerFlags,
) -> _Task:
    """Returns what the options ask for, with all requests made.

    Raises:
        typer.BadParameter: An option cannot be, or they do not go together; likewise InvalidRequestError.
    """
    from unrolled_loadtest.max_rate import parse_goal  # noqa: PLC0415 - loaded when asked for
    from unrolled_loadtest.workload.requests import make_workload  # noqa: PLC0415

    if load.concurrency is not None and (load.rate is not None or load.find_max is not None):
        raise typer.BadParameter("--concurrency has no rate: give it without --rate and --find-max")
    if generator.calibrate and load.transport == "merged":
        raise typer.BadParameter("--calibrate asks an echo server, which cannot answer merged calls")
    goal = None if load.find_max is None else parse_goal(load.find_max)
    plan = _plan(_questions(words, network), load, generator=generator, server=server)
    try:
        return _Task(plan=plan, workload=make_workload(plan.questions, seed=plan.seed), goal=goal)
    except OSError as error:
        raise typer.BadParameter(f"--file {words.file} cannot be read: {error.strerror}") from None


def _questions(words: DrawFlags, network: DrawnNetworkFlags) -> "Questions":
    from unrolled_loadtest.workload.distributions import parse_amount  # noqa: PLC0415 - loaded when asked for
    from unrolled_loadtest.workload.plan import Questions  # noqa: PLC0415

    return Questions(
        words_per_request=parse_amount(words.words, name="--words", at_least=1, at_most=_MAX_WORDS),
        hidden_size=parse_amount(network.hidden_size, name="--hidden-size", at_least=1, at_most=_MAX_INT32),
        seed=parse_amount(network.seed, name="--seed"),
        words_file=None if words.file is None else parse_path("--file", words.file),
        draw=words.draw,
        alphabet=network.alphabet,
        layout=network.layout,
        network=network.options(),
        pool_count=words.pool,
    )


def _shape(load: LoadFlags) -> "Load":
    from unrolled_loadtest.workload.plan import ClosedLoop, OpenLoop, parse_rate  # noqa: PLC0415 - as above

    is_trial = load.find_max is not None
    duration_s = _given(load.duration_s, _TRIAL_S if is_trial else _DURATION_S)
    if load.concurrency is not None:
        return ClosedLoop(concurrency=load.concurrency, duration_s=duration_s)
    pieces = parse_rate(_given(load.rate, _RATE), duration_s=duration_s)
    if is_trial and (len(pieces) > 1 or pieces[0].from_per_s != pieces[0].to_per_s):
        raise InvalidRequestError(f"--find-max begins at one rate; --rate is {load.rate!r}")
    return OpenLoop(pieces=pieces, arrivals=load.arrivals)


def _plan(
    questions: "Questions", load: LoadFlags, *, generator: GeneratorFlags, server: ServerFlags
) -> "Plan":
    from unrolled_loadtest.workload.plan import Plan  # noqa: PLC0415 - loaded when asked for

    return Plan(
        command=shlex.join(["unrolled-load", *sys.argv[1:]]),
        target="",
        access=read_access(server),
        spread=server.spread,
        questions=questions,
        load=_shape(load),
        transport=load.transport,
        warmup_s=_given(load.warmup_s, _WARMUP_S if load.find_max is None else _TRIAL_WARMUP_S),
        process_count=generator.processes,
        connection_count=_given(load.connections, generator.processes),
        stream_count=_given(load.streams, generator.processes),
        max_in_flight=load.max_in_flight,
        timeout_s=server.timeout_s,
        verify=load.verify,
        seed=generator.run_seed,
    )


def _given(value: _T | None, default: _T) -> _T:
    return default if value is None else value


def _measure(  # noqa: PLR0913 - what a measurement is made of
    task: _Task,
    target: str,
    *,
    is_calibrated: bool,
    is_live: bool,
    raw_log: "RawLog | None",
    interrupts: "Interrupts",
) -> "Record":
    from unrolled_loadtest.calibration import ceiling_of  # noqa: PLC0415 - loaded when asked for
    from unrolled_loadtest.max_rate import find_max  # noqa: PLC0415
    from unrolled_loadtest.run import run  # noqa: PLC0415

    plan = replace(task.plan, target=target)
    ceiling_per_s = ceiling_of(plan, interrupts=interrupts) if is_calibrated else None
    run_once = partial(
        run, raw_log=raw_log, workload=task.workload, ceiling_per_s=ceiling_per_s, interrupts=interrupts
    )
    shown = partial(_show_live, run_once) if is_live else run_once
    if task.goal is None:
        return shown(plan)
    first_per_s = plan.load.pieces[0].from_per_s  # type: ignore[union-attr] # see _shape
    return find_max(plan, task.goal, first_per_s=first_per_s, run=shown)


def _show_live(run: "Callable[..., Record]", plan: "Plan") -> "Record":
    from unrolled_loadtest.report.terminal import live  # noqa: PLC0415 - loaded when asked for

    with live(f"{plan.load} · {plan.transport} · {plan.target}", plan.load.duration_s) as view:
        return run(plan, view.update)


def _exit_code(record: "Record", *, are_reports_complete: bool) -> int:
    if record.verification.differing_count:
        return _DIFFERENT
    if record.ending == "interrupted":
        return _INTERRUPTED
    if record.ending != "done" or not record.answered_count:
        return _FAILED
    if not are_reports_complete:
        return _NOT_REPORTED
    return _NOT_MET if record.search is not None and record.search.found_per_s is None else 0
