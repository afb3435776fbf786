"""The Celery entry point: `celery -A app.worker worker`, `beat -S tasks.beat:PostgresScheduler`, `flower`."""

from __future__ import annotations

from app.bootstrap import build_celery
from app.settings import inherited_environment, load_settings

celery_app = build_celery(load_settings(inherited_environment()))
