"""Logging of the process: every record in one form on standard error, by structlog's recipe for stdlib."""

import logging
import sys
import threading
import time
from types import TracebackType
from typing import Literal

from structlog import dev, processors, stdlib
from structlog.typing import Processor

from unrolled_server.observability.log_throttle import LogThrottle

LOG = logging.getLogger("unrolled_server")

_is_json = False
_throttle = LogThrottle()


def configure(*, level: str, log_format: Literal["console", "json"], names_process: bool = False) -> None:
    """Sets up logging for the whole process, including warnings and uncaught errors.

    `names_process` adds the process id to records, for several processes that write to one log.
    """
    global _is_json  # noqa: PLW0603 - one for the process, as logging itself
    _is_json = log_format == "json"
    add_process = processors.CallsiteParameterAdder({processors.CallsiteParameter.PROCESS})
    before: list[Processor] = [
        processors.TimeStamper(fmt="iso" if _is_json else "%Y-%m-%d %H:%M:%S", utc=_is_json),
        stdlib.add_log_level,
        stdlib.add_logger_name,
        stdlib.ExtraAdder(),
        *([add_process] if names_process else []),
    ]
    json = [processors.format_exc_info, processors.EventRenamer("message"), processors.JSONRenderer()]
    after = [stdlib.ProcessorFormatter.remove_processors_meta, *(json if _is_json else [_console()])]
    handler = logging.StreamHandler()
    handler.setFormatter(stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=after))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.captureWarnings(capture=True)
    grpc_calls = logging.getLogger("grpc._cython.cygrpc")
    grpc_calls.setLevel(logging.INFO)  # at debug level it writes a line for each call
    grpc_calls.addFilter(_should_log)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda thread: LOG.critical(
        "uncaught error in thread %s", thread.thread and thread.thread.name, exc_info=thread.exc_value
    )


def fatal(message: str) -> None:
    """Logs why the process ends: as a plain sentence for people, also before `configure`."""
    if _is_json:
        LOG.critical(message)
    elif sys.stderr is not None:  # else print would take standard output
        print(f"unrolled-server: {message}", file=sys.stderr)  # noqa: T201 - a sentence, not a record


def _console() -> Processor:
    return dev.ConsoleRenderer(
        colors=sys.stderr is not None and sys.stderr.isatty(),
        exception_formatter=dev.plain_traceback,  # the default shows local variables: a caller's words
        pad_event_to=0,
        repr_native_str=True,  # keeps text that a caller chose, such as an id, on its line
        sort_keys=False,
    )


def _should_log(record: logging.LogRecord) -> bool:
    """Returns whether to log a record about gRPC's calls, which any caller can cause.

    Never: replies to clients that have left, which are many under load, and metadata that is no text, which
    the record would quote. All else once per interval and kind of error.
    """
    error = record.exc_info[0] if record.exc_info else None
    if error is None:
        return True
    if error.__name__ in ("ExecuteBatchError", "UnicodeDecodeError"):
        return False
    return _throttle.allow(f"{record.msg} {error.__name__}", now_s=time.monotonic()) is not None


def _log_uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        LOG.critical("uncaught error", exc_info=(kind, error, traceback))
