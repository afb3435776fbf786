"""A claim whose winner never heard of it, in the rows."""

from __future__ import annotations

import pytest

from app.bootstrap.celery import build_celery
from app.services import lost_child
from app.services.lost_child import Nursing, held_claims, release_orphan
from app.settings import Settings
from tests.support.servers import DatabaseUrls
from tests.support.spine import BROKER, LEASE, Spine


def test_a_released_orphan_goes_on_and_only_once(
    settings: Settings, database_urls: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    advanced: list[object] = []
    monkeypatch.setattr(lost_child, "advance", lambda _engine, *ids: advanced.append(ids))
    nursing: Nursing = build_celery(settings).container.worker.nursing
    spine = Spine(database_urls)
    run = spine.declare(spine.plan({"a": [], "b": ["a"]}, carriers={"a": 0, "b": 0}), broker=BROKER)
    spine.claim(run, "a")
    (claim,) = held_claims(nursing, LEASE)
    assert (claim.run_id, claim.key, claim.tries, claim.child) == (run, "a", 1, LEASE.child)
    release_orphan(nursing, claim)
    assert held_claims(nursing, LEASE) == []
    step = spine.step(run, "a")
    assert (step["state"], step["kills"], step["attempt"]) == ("ready", 1, 0)
    assert advanced == [(spine.tenant, run)]
    release_orphan(nursing, claim)
    assert (spine.step(run, "a")["kills"], len(advanced)) == (1, 1), "whoever comes late changes nothing"
