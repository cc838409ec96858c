"""How the process logs: every record in one form, whoever wrote it, on standard error.

A file of its own because it is the only one that knows structlog; all others log through the standard
library, as gRPC and asyncio do, and so their records come out alike. It needs neither torch nor gRPC.
"""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Literal

import structlog
from structlog.processors import CallsiteParameter, CallsiteParameterAdder
from structlog.typing import Processor

from unrolled_server.observability.log_throttle import Seldom

LogFormat = Literal["console", "json"]
LOG = logging.getLogger("unrolled_server")

_is_json = False
_told = Seldom()


def configure(*, level: str, log_format: LogFormat, names_process: bool = False) -> None:
    """Sets up logging for the whole process, warnings and errors that nobody caught included.

    Args:
        level: The least severe that is written, by its name.
        log_format: "console" for people, with colours on a terminal; "json" for one object a record.
        names_process: Whether each record has its process id, because there are several.
    """
    global _is_json  # noqa: PLW0603 - as logging is, one for the process
    _is_json = log_format == "json"
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                _time_stamper(is_json=_is_json),
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                *([CallsiteParameterAdder({CallsiteParameter.PROCESS})] if names_process else []),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(_json() if _is_json else _console()),
            ],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    of_calls = logging.getLogger("grpc._cython.cygrpc")
    of_calls.setLevel(logging.INFO)  # else a line of its own for each call
    of_calls.addFilter(_is_news)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread


def say_last(message: str) -> None:
    """Says why the process ends: to a person as a plain sentence, also before logging is set up."""
    if _is_json:
        LOG.critical(message)
    elif sys.stderr is not None:  # else print would take standard output
        print(f"unrolled-server: {message}", file=sys.stderr)  # noqa: T201 - a sentence, not a record


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a record of gRPC's calls is worth its room: what any caller can cause is told seldom.

    Not told are replies whose clients were gone, nobody's fault and many under load, and metadata that is no
    text, which the record would quote.
    """
    kind = record.exc_info[0] if record.exc_info else None
    if kind is None:
        return True
    if kind.__name__ in ("ExecuteBatchError", "UnicodeDecodeError"):
        return False
    more = _told.due(f"{record.msg} {kind.__name__}", now_s=time.monotonic())
    return more is not None


def _time_stamper(*, is_json: bool) -> Processor:
    if is_json:
        return structlog.processors.TimeStamper(fmt="iso", utc=True)
    return structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)


def _console() -> list[Processor]:
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr is not None and sys.stderr.isatty(),
            # Not the one that shows local variables, which may be a caller's words.
            exception_formatter=structlog.dev.plain_traceback,
            pad_event_to=0,
            repr_native_str=True,  # so that what callers chose, as an id, stays on its line
            sort_keys=False,
        ),
    ]


def _json() -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        structlog.processors.EventRenamer("message"),
        structlog.processors.JSONRenderer(),
    ]


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        LOG.critical("an error that nobody caught", exc_info=(kind, error, traceback))


def _log_uncaught_in_thread(thread: threading.ExceptHookArgs) -> None:
    name = thread.thread.name if thread.thread else "that is gone"
    LOG.critical("an error that nobody caught in thread %s", name, exc_info=thread.exc_value)
