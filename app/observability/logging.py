"""The set-up of structured logs: one JSON object a line, or coloured text for people."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any, Literal, TextIO

import structlog
from structlog.types import Processor

from app.domain.terminal import visible
from app.observability.capture import CaptureHandler
from app.observability.levels import apply_levels
from app.observability.masking import mask_log
from app.observability.tracing import current

Log = structlog.stdlib.BoundLogger
# Their lines at INFO repeat what ours say with names and ids, once for each step, or hold addresses.
NOISY = ("celery.worker.strategy", "celery.app.trace", "urllib3", "kombu", "alembic.runtime.plugins", "azure")

Style = Literal["auto", "json", "console"]


@dataclass(slots=True)
class _Process:
    name: str = ""


_PROCESS = _Process()


def configure_logging(level: str, style: Style, *, process: str, stream: TextIO | None = None) -> None:
    """Send the logs of structlog and of the standard library to `stream` (standard error) in one form.

    `auto` is coloured text in a terminal, JSON else. Safe to call again, for a forked child or a test: the
    last call holds. Credentials are masked in both. Lines of a thread that works for a span name its trace.
    """
    name_process(process)
    apply_levels({})  # what somebody set before, for a process that was set up differently
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _process_name,
        _trace,
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
    renderers: list[Processor] = (
        [structlog.processors.JSONRenderer(default=str)]
        if style == "json" or (style == "auto" and not output.isatty())
        else [_visible, structlog.dev.ConsoleRenderer(colors=output.isatty())]
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
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


def name_process(name: str) -> None:
    """Say what this process does; each line tells it."""
    _PROCESS.name = name


def _process_name(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event.setdefault("process_name", _PROCESS.name)
    return event


def _trace(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    here = current()
    if here is not None:
        event.setdefault("trace_id", here.trace_id)
    return event


def _visible(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A path that somebody asked for must not move the cursor of whoever reads of it."""
    shown: dict[str, Any] = visible(event)
    return shown


def _mask(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    hidden = {key: value for key, value in event.items() if key.startswith("_")}  # structlog's own objects
    shown = {key: value for key, value in event.items() if not key.startswith("_")}
    return {**mask_log(shown), **hidden}
