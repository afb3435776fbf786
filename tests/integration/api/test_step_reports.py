"""What running steps tell, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from app.db import hot, progress, step_logs
from app.domain.leases import StepMessage
from app.services.artifacts import StepArtifacts
from tests.support.http_api import PREFIX, Caller, Platform, assert_problem, echo
from tests.support.spine import LEASE


@pytest.fixture
def claimed(platform: Platform, admin: Caller) -> tuple[StepMessage, int]:
    """A step that runs, with its claim."""
    run = admin.post("/intents", echo()).get_json()["run"]
    (step,) = admin.get(f"/runs/{run['id']}").get_json()["steps"]
    message = StepMessage(UUID(admin.tenant_id), UUID(run["id"]), step["key"], 1)
    # Sent or not: this test is the worker.
    platform.parts.platform.call(
        "UPDATE run_steps SET sent_at = now(), dispatch_epoch = 1 WHERE run_id = %s", (run["id"],)
    )
    claim = hot.claim_step(platform.parts.database, message, LEASE)
    assert claim.verdict == "claimed"
    return message, claim.tries


def test_progress_is_part_of_a_step(
    platform: Platform, admin: Caller, stranger: Caller, claimed: tuple[StepMessage, int]
) -> None:
    message, tries = claimed
    path = f"/runs/{message.run_id}"

    def reads() -> list[dict[str, Any]]:
        return [
            admin.get(path).get_json()["steps"][0],
            admin.get(f"{path}/steps").get_json()["items"][0],
            admin.get(f"{path}/steps/{message.key}").get_json(),
        ]

    assert [step["progress"] for step in reads()] == [None, None, None]
    before = admin.get(path)
    progress.report(platform.parts.database, message, tries, 0.25, "one of four")
    for step in reads():
        assert (step["progress"]["fraction"], step["progress"]["message"]) == (0.25, "one of four")
    after = admin.call("GET", path, headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200, "the run's row is as it was, what is shown of it is not"
    assert after.get_json()["version"] == before.get_json()["version"]
    assert_problem(stranger.get(f"{path}/steps/{message.key}"), 404)


def test_lines_are_read_on_from_the_cursor(
    platform: Platform, admin: Caller, stranger: Caller, claimed: tuple[StepMessage, int]
) -> None:
    message, tries = claimed
    path = f"/runs/{message.run_id}/steps/{message.key}/logs"
    empty = admin.get(path).get_json()
    assert empty == {"items": [], "next_cursor": "0.0", "state": "running"}
    lines = [{"n": n, "at": "2026-01-01T00:00:00Z", "level": "info", "text": str(n)} for n in (1, 2, 3)]
    step_logs.write(platform.parts.database, message, tries, 3, lines)
    first = admin.get(path, limit=2, after=empty["next_cursor"]).get_json()
    assert [line["text"] for line in first["items"]] == ["1", "2"]
    rest = admin.get(path, after=first["next_cursor"]).get_json()
    assert [(line["attempt"], line["n"]) for line in rest["items"]] == [(1, 3)]
    assert admin.get(path, after=rest["next_cursor"]).get_json() == {**empty, "next_cursor": "1.3"}
    assert admin.get(path, attempt=2).get_json()["items"] == []
    assert_problem(stranger.get(path), 404)
    assert_problem(admin.get(path.replace(message.key, "nothing")), 404)
    assert_problem(admin.get(path, after="1"), 422)
    assert_problem(admin.get(path, attempt=0), 422)


def test_outputs_are_downloaded_whole_by_their_tenant(
    platform: Platform, admin: Caller, stranger: Caller, claimed: tuple[StepMessage, int]
) -> None:
    message, tries = claimed
    path = f"/runs/{message.run_id}/steps/{message.key}"
    assert_problem(admin.get(f"{path}/output"), 404, "no-output")
    store = platform.parts.submit.engine.artifacts
    kept = StepArtifacts(store, platform.parts.database, message, tries)
    file = kept.put(b"<b>a page</b>", "text/html")
    large = {"file": file, "text": "x" * 300_000}
    reference = kept.aside("the output", large)
    hot.finish_step(platform.parts.database, message, tries, "succeeded", output=reference)
    assert admin.get(path).get_json()["output"] == reference
    whole = admin.get(f"{path}/output")
    assert whole.get_json() == large
    assert int(whole.headers["Content-Length"]) == len(whole.data)
    assert whole.headers["ETag"] == f'"{reference["$artifact"]["sha256"]}"'
    page = admin.get(f"{path}/artifacts/{file['$artifact']['sha256']}")
    assert (page.data, page.content_type) == (b"<b>a page</b>", "text/html")
    assert page.headers["Content-Disposition"] == "attachment"
    assert page.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert whole.headers["Cache-Control"] == "private, no-cache", "a retry may bring another output"
    for known in (whole, page):
        place = known.request.path.removeprefix(PREFIX)
        again = admin.call("GET", place, headers={"If-None-Match": known.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
    for place in ("output", f"artifacts/{file['$artifact']['sha256']}"):
        assert_problem(stranger.get(f"{path}/{place}"), 404)
        assert_problem(platform.anonymous().get(f"{path}/{place}"), 401)
    assert_problem(admin.get(f"{path}/artifacts/{'0' * 64}"), 404)
    store.store.delete(message.tenant_id, reference["$artifact"]["sha256"])
    assert_problem(admin.get(f"{path}/output"), 404, "artifact-missing")
