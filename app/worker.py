"""The Celery entry point: `celery -A app.worker worker`, `beat -S tasks.beat:PostgresScheduler`, `flower`."""

from __future__ import annotations

from typing import Any

from celery.signals import setup_logging

from app.bootstrap.celery import build_celery
from app.settings import inherited_environment, load_settings

celery_app = build_celery(load_settings(inherited_environment()))


@setup_logging.connect  # type: ignore[untyped-decorator]  # Celery ships no types
def keep_logging(**_: Any) -> None:
    """Leave the logs as bootstrap has set them up: somebody listening keeps Celery from making its own."""
