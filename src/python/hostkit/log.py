"""Logs: one structlog line an event, JSON unless a person watches on a terminal.

As a service the fields of an event become fields of the journal too: `journalctl REQUEST_ID=...`.
"""

import logging
import logging.config
import os
import sys
from types import TracebackType
from typing import Any

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import Processor

from hostkit import journal

_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
]


def configure(*, level: str = "INFO") -> None:
    """Sends structlog, the standard library's loggers and warnings, and a crash to standard error.

    All in the same form.
    """
    logging.config.dictConfig(
        _logging_config(
            level=level,
            json=not sys.stderr.isatty(),
            handler=(
                "hostkit.journal.JournalHandler"
                if journal.is_stream(sys.stderr, os.environ)
                else "logging.StreamHandler"
            ),
        )
    )
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    logging.captureWarnings(True)
    sys.excepthook = _log_crash


def _logging_config(*, level: str, json: bool, handler: str) -> dict[str, Any]:
    # Without the local variables of each frame: passwords are among them.
    render: list[Processor] = (
        [
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
        if json
        else [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structlog": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _SHARED,
                "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
            }
        },
        "handlers": {
            "stderr": {
                "class": handler,
                "stream": "ext://sys.stderr",
                "formatter": "structlog",
            }
        },
        "root": {"level": level, "handlers": ["stderr"]},
    }


def _log_crash(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, traceback)
    else:
        structlog.get_logger("crash").critical(str(error), exc_info=(kind, error, traceback))
