"""The service log: one event a line on standard error, as JSON or for a person to read.

It is for operating the service; decisions are in the audit log. Whatever is logged with `extra={"request_id": ...}`
carries it.
"""

from typing import Any

import structlog


def log_config(level: str, style: str) -> dict[str, Any]:
    """The `logging.config` dictionary for our own modules and for the server's."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if style == "json":
        last += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        last.append(structlog.dev.ConsoleRenderer(colors=False))
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
            # Say that a collector is gone with every try, and where it was; `otlp` says so once.
            "opentelemetry": {"level": "CRITICAL"},
            "urllib3": {"level": "CRITICAL"},
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
    }
