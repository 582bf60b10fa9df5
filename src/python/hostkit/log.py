"""Logs: one structlog line an event, JSON unless a person watches on a terminal.

As a service the fields of an event become fields of the journal too: `journalctl REQUEST_ID=...`.
"""

import faulthandler
import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Protocol, TextIO

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

from hostkit import journal

NANOSECONDS = 1_000_000_000


def stamp(_: Any, __: str, event: EventDict) -> EventDict:
    """Says when an event was, in UTC."""
    second, nanoseconds = divmod(time.time_ns(), NANOSECONDS)
    event["timestamp"] = f"{_text_of(second)}.{nanoseconds // 1000:06d}Z"
    return event


@lru_cache(2)
def _text_of(second: int) -> str:
    """Most events are of a second that others are of too."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    stamp,
    structlog.processors.StackInfoRenderer(),
]


class _Write(Protocol):
    def __call__(self, line: str, level: int) -> None: ...


class _Lines:
    """Where the events of one structlog logger end: as lines, at their level.

    They do not pass through the standard library's loggers, which costs more than the line itself.
    """

    def __init__(self, write: _Write, name: str) -> None:
        self.name = name
        self.debug = partial(write, level=logging.DEBUG)
        self.info = partial(write, level=logging.INFO)
        self.warning = partial(write, level=logging.WARNING)
        self.error = partial(write, level=logging.ERROR)
        self.critical = partial(write, level=logging.CRITICAL)


def configure(*, level: str = "INFO", to_json: Callable[..., str] = json.dumps) -> None:
    """Sends structlog, the standard library's loggers and warnings, and a crash to standard error.

    All in the same form; a crash of native code (SIGSEGV) is the stack of each thread, as text.

    `to_json`: makes the JSON; `default` is what it is to ask about a value that it does not know.
    """
    render = _renderers(None if sys.stderr.isatty() else to_json)
    to_journal = journal.is_stream(sys.stderr, os.environ)
    write = journal.Writer(sys.stderr).write if to_journal else partial(_write, sys.stderr)
    handler = _Handler(write)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    logging.basicConfig(level=level, handlers=[handler], force=True)
    structlog.configure(
        processors=[*_SHARED, *render],
        logger_factory=partial(_Lines, write),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_crash
    with suppress(ValueError):  # What has replaced standard error may be no file.
        faulthandler.enable(sys.stderr)


class _Handler(logging.Handler):
    """Writes the lines of the standard library's loggers."""

    def __init__(self, write: _Write) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(self.format(record), record.levelno)
        except Exception:  # noqa: BLE001 (as all handlers do: a log must not break its program)
            self.handleError(record)


def _write(stream: TextIO, line: str, level: int) -> None:  # noqa: ARG001 - a journal asks for it
    with suppress(OSError, ValueError):  # Who reads it may have gone: no reason to stop.
        stream.write(f"{line}\n")
        stream.flush()


def _renderers(to_json: Callable[..., str] | None) -> list[Processor]:
    if to_json is None:
        return [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    return [
        # Without the local variables of each frame: passwords are among them.
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        structlog.processors.JSONRenderer(to_json),
    ]


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        structlog.get_logger("crash").critical(str(error), exc_info=(kind, error, traceback))
