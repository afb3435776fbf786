"""Pages of the event feed: what they look through, where a reader goes on."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.db import reads
from tests.support.http_api import Caller, Platform

EMIT = (
    "SELECT emit_event(%s, 'runs/pages', n, CASE WHEN n %% 10 = 0 THEN 'run.failed' ELSE 'run.started' END,"
    " '{}', '{}') FROM generate_series(1, 40) n"
)


def test_a_rare_type_is_looked_for_in_bounded_pages(
    platform: Platform, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reads, "LOOKED_THROUGH", 7)
    tenant = UUID(admin.tenant_id)
    with platform.parts.database.tenant(tenant) as connection:
        connection.exec_driver_sql(EMIT, (tenant,))
    platform.parts.platform.call("SELECT sequence_events(1000)")
    found: list[int] = []
    after, pages = 0, 0
    while True:
        page = admin.get("/events", after=after, limit=2, type="io.quantum.run.failed").get_json()
        found += [int(event["sequence"]) for event in page["items"]]
        pages += 1
        assert page["next_cursor"] > after or not page["more"]
        after = page["next_cursor"]
        if not page["more"]:
            break
    assert found == [10, 20, 30, 40]
    assert 6 <= pages <= 10
    whole = admin.get("/events", limit=200, subject="runs/pages", type="io.quantum.run.failed").get_json()
    assert (len(whole["items"]), whole["more"]) == (4, False)
    first = admin.get("/events", limit=2).get_json()
    assert (len(first["items"]), first["more"]) == (2, True)
