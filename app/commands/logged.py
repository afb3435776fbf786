"""The log of one command, with the id that names all it asks of the API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import uuid4

from app.domain.log_levels import LEVELS
from app.observability.context import log_context
from app.observability.logging import configure_logging
from app.settings import inherited_environment

QUIET: Final = "WARNING"
"""What a command shows of its log, unless LOG_LEVEL says otherwise: its answer stands on standard output."""


@contextmanager
def logged() -> Iterator[None]:
    """Send what the command logs to standard error; one request id names all that it does."""
    level = inherited_environment().get("LOG_LEVEL", "")
    configure_logging(level if level in LEVELS else QUIET, "auto", process="cli")
    with log_context(request_id=uuid4()):
        yield
