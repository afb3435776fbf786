"""The faults that nobody foresaw in a tenant's data, as failures of the step that met them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from app.domain.errors import OperationFailed, QuantumError

log = logging.getLogger(__name__)


@contextmanager
def failing(code: str) -> Iterator[None]:
    """Let the body raise errors of the platform only: any other becomes OperationFailed with this code."""
    try:
        yield
    except QuantumError:
        raise
    except Exception as fault:
        # The same data would raise it again, each time that somebody looks at the run.
        log.exception("failed_unforeseen", extra={"code": code})
        raise OperationFailed(code, f"{type(fault).__name__}: {fault}", retryable=False) from fault
