"""The set-up of structured logs: one JSON object a line, or coloured text for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.types import Processor

from app.observability.capture import CaptureHandler
from app.observability.masking import mask_log

Log = structlog.stdlib.BoundLogger
# Their lines at INFO repeat what ours say with names and ids, once for each step.
NOISY = ("celery.worker.strategy", "celery.app.trace", "urllib3", "kombu", "alembic.runtime.plugins")


def configure_logging(
    level: str, style: Literal["json", "console"], *, process: str, stream: TextIO | None = None
) -> None:
    """Send the logs of structlog and of the standard library to `stream` (standard error) in one form.

    Safe to call again, for a forked child or a test: the last call holds. Credentials are masked in both.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_name(process),
        structlog.processors.format_exc_info,
        _mask,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared[:3],
            *shared[5:],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    output = stream or sys.stderr
    renderer: Processor = (
        structlog.processors.JSONRenderer(default=str)
        if style == "json"
        else structlog.dev.ConsoleRenderer(colors=output.isatty())
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler, CaptureHandler()]
    root.setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def get_log(name: str) -> Log:
    """Return the logger of one file: event names are constants, data goes in keywords."""
    return structlog.stdlib.get_logger(name)


def _process_name(process: str) -> Processor:
    def add(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("process_name", process)
        return event

    return add


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    hidden = {key: value for key, value in event.items() if key.startswith("_")}  # structlog's own objects
    shown = {key: value for key, value in event.items() if not key.startswith("_")}
    return {**mask_log(shown), **hidden}
