"""The service log: one event a line on standard error, as JSON or for a person to read.

It is for operating the service; decisions are in the audit log and not here. A line that belongs to a request carries
its id, whoever writes it: the route says once which request it serves (`serving`), and tasks and threads that it starts
in its own context (`in_this_context`) know as well.

INVARIANT: whatever text gets into a line, it stays one line and changes no terminal: in JSON by its own escapes, for
people by ours. Tracebacks for people go on in further lines, all of them indented.
"""

import logging
import logging.config
from collections.abc import Callable, MutableMapping
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any

from kalguard.sidecar.unwanted import without

with without("rich"):  # which would show the values of variables in tracebacks
    import structlog

_REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_INDENT = "    "


def serving(request_id: str) -> None:
    """From here on, what this task logs belongs to this request."""
    _REQUEST_ID.set(request_id)


def in_this_context(step: Callable[[], Any]) -> Callable[[], Any]:
    """The same step, for another thread: what it logs belongs to the request that is served here."""
    return partial(copy_context().run, step)


def configure(level: str, style: str) -> None:
    """Make this process's log so; Python's warnings become lines of it too."""
    logging.config.dictConfig(log_config(level, style))
    logging.captureWarnings(True)


def log_config(level: str, style: str) -> dict[str, Any]:
    """The `logging.config` dictionary for our own modules and for the server's."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Formatted by us in either style.
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, structlog.processors.format_exc_info]
    if style == "json":
        last.append(structlog.processors.JSONRenderer())
    else:
        last += [_escape, structlog.dev.ConsoleRenderer(colors=False)]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "service": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": shared,
                "processors": last,
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "stream": "ext://sys.stderr", "formatter": "service"}
        },
        "loggers": {
            "_granian": {"level": level.upper(), "propagate": True},
            "watchfiles": {"level": "WARNING"},  # tells of every change in a folder, ours or not
            # Tell of every call to Cloud, and of each of its bytes; `connector` says what there is to say.
            "httpx": {"level": "WARNING"},
            "httpcore": {"level": "WARNING"},
            # Say that a collector is gone with every try, and where it was; `otlp` says so once.
            "opentelemetry": {"level": "CRITICAL"},
            "urllib3": {"level": "CRITICAL"},
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    request_id = _REQUEST_ID.get()
    if request_id is not None:
        event.setdefault("request_id", request_id)
    return event


def _escape(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What cannot be printed, line feeds included, as an escape; a traceback keeps its lines, indented."""
    escaped = {key: _printable(value) if isinstance(value, str) else value for key, value in event.items()}
    if "exception" in escaped:
        lines = str(event["exception"]).split("\n")
        escaped["exception"] = "\n".join(_INDENT + _printable(line) for line in lines)
    return escaped


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
