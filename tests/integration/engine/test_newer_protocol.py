"""A message of a protocol that this release does not speak is given back, for a worker that does."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore

import tasks.steps
from app.bootstrap.celery import build_celery
from app.messaging.celery_app import STEP_TASK
from app.settings import Settings
from tests.support.servers import DatabaseUrls
from tests.support.spine import BROKER, Spine

NEWER = (None, 2)
"""What stands behind the ids: no lot, the number of the protocol."""


def test_its_step_is_unsent_and_costs_no_try(settings: Settings, database_urls: DatabaseUrls) -> None:
    spine = Spine(database_urls)
    run = spine.declare(spine.plan({"a": []}, carriers={"a": 0}), broker=BROKER)
    door = build_celery(settings).tasks[STEP_TASK]
    assert door.name == tasks.steps.step.name
    sent = spine.step(run, "a")
    assert (sent["state"], sent["sent_at"] is not None) == ("ready", True)
    ids = (str(spine.tenant), str(run), "a")
    with pytest.raises(Ignore, match="protocol 2"):
        door(*ids, sent["dispatch_epoch"] - 1, *NEWER)
    assert spine.step(run, "a")["sent_at"] == sent["sent_at"], "an old message does not unsend a newer one"
    with pytest.raises(Ignore, match="protocol 2"):
        door(*ids, sent["dispatch_epoch"], *NEWER)
    step = spine.step(run, "a")
    assert (step["state"], step["sent_at"], step["tries"], step["attempt"]) == ("ready", None, 0, 0)
