"""Logs on standard error: a line for a person on a terminal, JSON elsewhere. Ids, codes and counts only."""

from __future__ import annotations

import logging
import os
import sys

import structlog

from fhir_bridge.faults import location

QUOTING = (
    *("aiosqlite", "asyncio", "psycopg", "sqlalchemy.engine.Engine", "httpx"),
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)
"""Loggers of libraries that quote what they work on: parameters, rows, arguments, an answer's headers."""


def set_up_logs(level: int = logging.INFO) -> None:
    """From now on events of `level` and above are written, with UTC timestamps."""
    readable = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _place_of_fault,
            structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))
            if readable
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        # The one of the moment: a bar that is shown has what is written meanwhile go above it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )
    silence_values()


def silence_values() -> None:
    """From now on the libraries that quote values log without them, at whatever level they are asked to."""
    for name in QUOTING:
        logger = logging.getLogger(name)
        if not any(isinstance(found, WithoutValues) for found in logger.filters):
            logger.addFilter(WithoutValues())


class WithoutValues(logging.Filter):
    """Keeps of a record the words before its first value, and of an exception where it was raised."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always True: the record stays, without its values."""
        # httpcore puts its values into the text itself: `name.step key=value …`.
        ends = " " if record.name.startswith("httpcore") else "\n"
        record.msg, record.args = str(record.msg).partition(ends)[0].partition("%")[0], ()
        if record.exc_info and record.exc_info[1] is not None:
            record.msg += f": {location(record.exc_info[1])}"
        record.exc_info = record.exc_text = record.stack_info = None
        return True


def _place_of_fault(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """An exception as its type and place: its text may quote a patient."""
    error = event.pop("exc_info", None)
    if error:
        found = error if isinstance(error, BaseException) else sys.exc_info()[1]
        event["fault"] = location(found) if found else None
    return event
