"""Schedules: kept over HTTP, fired as beat fires them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg2
import pytest

from app.db import schedules as store
from app.db.engine import Database
from app.services import fire_schedules as service
from app.services.fire_schedules import fire_schedules
from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually


@dataclass(frozen=True)
class Clockwork:
    """The platform's schedules, which fire when a test says so."""

    platform: Platform
    caller: Caller
    admin: Database
    admin_url: str

    def fire(self) -> int:
        return fire_schedules(self.platform.parts.submit, self.platform.parts.platform)

    def make(self, **more: Any) -> str:
        body = {
            "name": f"n{self.count()}",
            "type": "core.echo",
            "spec": {"message": "at ${run.scheduled_at} by ${run.cause}"},
            "timing": {"every_s": 3600},
            **more,
        }
        made = self.caller.post("/schedules", body)
        assert made.status_code == 201, made.text
        return str(made.get_json()["id"])

    def count(self) -> int:
        return int(self.admin.call("SELECT count(*) FROM schedules")[0][0])

    def back(self, schedule: str, hours: float) -> None:
        """Act as if so many hours had passed in which nobody fired it."""
        self.admin.call(
            "UPDATE schedules SET start_at = start_at - make_interval(secs => %(s)s),"
            " next_at = next_at - make_interval(secs => %(s)s),"
            " due_at = due_at - make_interval(secs => %(s)s)"
            " WHERE id = %(id)s",
            {"s": hours * 3600, "id": schedule},
        )

    def firings(self, schedule: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.caller.get(f"/schedules/{schedule}/firings").get_json()["items"]
        return items[::-1]

    def outcomes(self, schedule: str) -> list[tuple[str, str | None]]:
        return [(one["outcome"], one["reason"]) for one in self.firings(schedule)]

    def end(self, run: str) -> None:
        """Let a run end, as its last step would."""
        assert self.caller.post(f"/runs/{run}:cancel").status_code == 202

    def show(self, schedule: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.caller.get(f"/schedules/{schedule}").get_json()
        return found


@pytest.fixture
def clockwork(platform: Platform, database_urls: DatabaseUrls) -> Iterator[Clockwork]:
    admin = Database(database_urls.admin, "admin")
    yield Clockwork(platform, platform.tenant()[1], admin, database_urls.admin)
    admin.call("DELETE FROM schedules RETURNING id")
    admin.dispose()


def test_a_due_schedule_declares_its_intent_once(clockwork: Clockwork) -> None:
    schedule = clockwork.make(name="hourly", labels={"team": "a"})
    assert clockwork.fire() == 0
    clockwork.back(schedule, 1.001)
    assert clockwork.fire() == 1
    assert clockwork.fire() == 0
    (firing,) = clockwork.firings(schedule)
    assert (firing["outcome"], firing["cause"]) == ("started", "time")
    intent = clockwork.caller.get(f"/intents/{firing['intent_id']}").get_json()
    assert intent["spec"]["message"].endswith(" by time")
    assert intent["spec"]["message"][3:22] == firing["scheduled_at"][:19]
    assert intent["labels"] == {"team": "a", "schedule": "hourly"}
    assert clockwork.caller.get(f"/runs/{firing['run_id']}").get_json()["intent_id"] == firing["intent_id"]
    shown = clockwork.show(schedule)
    assert shown["next_at"] > firing["scheduled_at"]
    events = clockwork.admin.call(
        "SELECT seq, type FROM events WHERE subject = %s ORDER BY seq", (f"schedules/{schedule}",)
    )
    assert events == [(1, "io.quantum.schedule.created"), (2, "io.quantum.schedule.fired")]


def test_a_clock_that_steps_back_doubles_nothing(clockwork: Clockwork) -> None:
    schedule = clockwork.make(overlap="allow", catch_up="all", catch_up_window_s=86400)
    clockwork.back(schedule, 2.001)
    assert clockwork.fire() == 2
    # As if the database had been an hour slow when the timing was set anew.
    clockwork.admin.call(
        "UPDATE schedules SET next_at = next_at - interval '1 h', due_at = due_at - interval '1 h'"
        " WHERE id = %s",
        (schedule,),
    )
    assert clockwork.fire() == 0
    assert len(clockwork.firings(schedule)) == 2
    tenant = UUID(clockwork.caller.tenant_id)
    assert clockwork.admin.call("SELECT count(*) FROM runs WHERE tenant_id = %s", (tenant,)) == [(2,)]


def test_dying_between_declaring_and_noting_leaves_neither(
    clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = clockwork.make()
    clockwork.back(schedule, 1.001)

    def die(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as broken:
        broken.setattr(store, "note", die)
        assert clockwork.fire() == 0
    tenant = UUID(clockwork.caller.tenant_id)
    assert clockwork.admin.call("SELECT count(*) FROM runs WHERE tenant_id = %s", (tenant,)) == [(0,)]
    assert clockwork.fire() == 1
    assert clockwork.admin.call("SELECT count(*) FROM runs WHERE tenant_id = %s", (tenant,)) == [(1,)]


def test_two_beats_fire_each_once(clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = [clockwork.make(name=f"s{n}") for n in range(20)]
    for schedule in schedules:
        clockwork.back(schedule, 1.001)
    barrier = threading.Barrier(2, timeout=10)
    lock = store.lock

    def together(*arguments: Any) -> Any:
        barrier.wait()
        rows = lock(*arguments)
        barrier.wait()  # both hold what they got
        return rows

    monkeypatch.setattr(service.store, "lock", together)
    fired: list[int] = []
    beats = [threading.Thread(target=lambda: fired.append(clockwork.fire())) for _ in range(2)]
    for beat in beats:
        beat.start()
    for beat in beats:
        beat.join(30)
    assert sum(fired) == 20
    assert all(clockwork.outcomes(schedule) == [("started", None)] for schedule in schedules)


def test_overlap_skips_then_goes_on(clockwork: Clockwork) -> None:
    schedule = clockwork.make(overlap="skip")
    clockwork.back(schedule, 1.001)
    clockwork.fire()
    clockwork.back(schedule, 0.9995)
    clockwork.fire()
    assert clockwork.outcomes(schedule) == [("started", None), ("skipped", "overlap")]
    clockwork.end(clockwork.firings(schedule)[0]["run_id"])
    clockwork.back(schedule, 0.9998)
    clockwork.fire()
    assert clockwork.outcomes(schedule)[2] == ("started", None)


def test_a_queued_firing_starts_when_the_run_before_has_ended(clockwork: Clockwork) -> None:
    schedule = clockwork.make(overlap="queue", catch_up="all", catch_up_window_s=86400)
    clockwork.back(schedule, 3.001)
    assert clockwork.fire() == 3
    assert [one for one, _ in clockwork.outcomes(schedule)] == ["started", "queued", "queued"]
    assert clockwork.fire() == 0
    clockwork.end(clockwork.firings(schedule)[0]["run_id"])
    assert clockwork.fire() == 1
    assert [one for one, _ in clockwork.outcomes(schedule)] == ["started", "started", "queued"]


def test_cancel_running_makes_room(clockwork: Clockwork) -> None:
    schedule = clockwork.make(overlap="cancel_running")
    for hours in (1.001, 0.9995):
        clockwork.back(schedule, hours)
        clockwork.fire()
    first, second = clockwork.firings(schedule)
    assert clockwork.caller.get(f"/runs/{first['run_id']}").get_json()["state"] == "cancelled"
    assert clockwork.caller.get(f"/runs/{second['run_id']}").get_json()["state"] == "queued"


def test_a_refused_intent_is_told_and_the_schedule_goes_on(clockwork: Clockwork) -> None:
    schedule = clockwork.make()
    clockwork.admin.call("UPDATE schedules SET type_version = 77 WHERE id = %s", (schedule,))
    clockwork.back(schedule, 1.001)
    assert clockwork.fire() == 1
    ((outcome, reason),) = clockwork.outcomes(schedule)
    assert (outcome, "core.echo version 77" in str(reason)) == ("failed", True)
    assert clockwork.show(schedule)["state"] == "active"


def test_one_schedules_fault_leaves_the_others_alone(clockwork: Clockwork, platform: Platform) -> None:
    odd, mate = clockwork.make(timing={"cron": "0 * * * *"}), clockwork.make()
    other = Clockwork(platform, platform.tenant()[1], clockwork.admin, clockwork.admin_url)
    theirs = other.make(name="theirs")
    for schedule in (odd, mate, theirs):
        clockwork.back(schedule, 1.001)
    # A zone that later data of the time zones have given up.
    clockwork.admin.call("UPDATE schedules SET timezone = 'Europe/Nowhere' WHERE id = %s", (odd,))
    assert clockwork.fire() == 2
    assert (clockwork.outcomes(odd), clockwork.outcomes(mate)) == ([], [("started", None)])
    assert other.outcomes(theirs) == [("started", None)]


def test_a_paused_schedule_rests_and_catches_nothing_up(clockwork: Clockwork) -> None:
    schedule = clockwork.make(catch_up="all")
    path = f"/schedules/{schedule}"
    assert_problem(clockwork.caller.post(f"{path}:pause", If_Match='"v9"'), 412)
    paused = clockwork.caller.post(f"{path}:pause", {"reason": "holiday"})
    assert (paused.get_json()["state"], paused.get_json()["pause_reason"]) == ("paused", "holiday")
    again = clockwork.caller.post(f"{path}:pause")
    assert again.headers["ETag"] == paused.headers["ETag"]
    clockwork.back(schedule, 5)
    assert clockwork.fire() == 0
    resumed = clockwork.caller.post(f"{path}:resume").get_json()
    assert resumed["state"] == "active"
    assert clockwork.fire() == 0
    audited = clockwork.caller.get("/audit", subject=f"schedules/{schedule}").get_json()["items"]
    assert [one["action"] for one in audited] == ["schedule.resume", "schedule.pause", "schedule.create"]


def test_trigger_starts_now_and_once_for_each_key(clockwork: Clockwork) -> None:
    schedule = clockwork.make()
    answers = [
        clockwork.caller.post(f"/schedules/{schedule}:trigger", Idempotency_Key="one") for _ in range(2)
    ]
    assert [one.status_code for one in answers] == [202, 202]
    assert answers[0].get_json() == answers[1].get_json()
    assert answers[0].headers["Location"].endswith(answers[0].get_json()["run_id"])
    assert [one["cause"] for one in clockwork.firings(schedule)] == ["trigger"]


def test_backfill_plans_a_range_at_a_rate(clockwork: Clockwork) -> None:
    schedule = clockwork.make(timing={"every_s": 3600, "start_at": "2026-01-01T00:00:00Z"})
    path = f"/schedules/{schedule}:backfill"
    asked = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T03:30:00Z", "per_minute": 0.5}
    assert clockwork.caller.post(path, asked).get_json()["planned"] == 4
    assert clockwork.caller.post(path, asked).get_json()["planned"] == 0, "those there stay as they are"
    assert clockwork.fire() == 1, "the rate"
    clockwork.admin.call("UPDATE schedule_firings SET due_at = now() WHERE due_at IS NOT NULL")
    assert clockwork.fire() == 3, "whatever the overlap policy"
    assert {one["cause"] for one in clockwork.firings(schedule)} == {"backfill"}
    pages = clockwork.caller.get(f"/schedules/{schedule}/firings", limit=3).get_json()
    rest = clockwork.caller.get(f"/schedules/{schedule}/firings", cursor=pages["next_cursor"]).get_json()
    assert (rest["items"] + pages["items"][::-1]) == clockwork.firings(schedule)
    first = clockwork.caller.get(f"/intents/{clockwork.firings(schedule)[0]['intent_id']}").get_json()
    assert first["spec"]["message"] == "at 2026-01-01T00:00:00+00:00 by backfill"
    assert_problem(clockwork.caller.post(path, asked | {"to": "2199-01-01T00:00:00Z"}), 422)


def test_a_backfill_looks_no_further_than_its_range(clockwork: Clockwork) -> None:
    # Ten thousand firings of such a schedule lie beyond the end of the calendar.
    schedule = clockwork.make(timing={"cron": "0 0 1 1 *"})
    asked = {"from": "2024-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
    assert clockwork.caller.post(f"/schedules/{schedule}:backfill", asked).get_json()["planned"] == 3


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"timing": {"cron": "61 * * * *"}}, "/timing/cron"),
        ({"timing": {"cron": "* * * * *", "timezone": "Mars/Olympus"}}, "/timing/timezone"),
        ({"timing": {"cron": "* * * * *", "every_s": 5}}, "/timing"),
        ({"timing": {}}, "/timing"),
        ({"timing": {"every_s": 0.1}}, "/timing/every_s"),
        ({"timing": {"at": "2020-01-01T00:00:00Z"}}, "/timing"),
        (
            {
                "timing": {
                    "cron": "* * * * *",
                    "start_at": "2031-01-01T00:00:00Z",
                    "end_at": "2030-01-01T00:00:00Z",
                }
            },
            "/timing/end_at",
        ),
        ({"type": "no.such"}, "/type"),
        ({"spec": {}}, "/spec"),
        ({"spec": {"message": "${run.nothing}"}}, "/spec"),
        ({"spec": {"message": "${secrets.TOKEN}"}}, "/spec"),
        ({"overlap": "sometimes"}, "/overlap"),
    ],
)
def test_faults_are_told_early(clockwork: Clockwork, change: dict[str, Any], pointer: str) -> None:
    body = {"name": "x", "type": "core.echo", "spec": {"message": "m"}, "timing": {"every_s": 60}, **change}
    problem = assert_problem(clockwork.caller.post("/schedules", body), 422)
    assert pointer in [fault["pointer"] for fault in problem["errors"]], problem
    assert clockwork.count() == 0


def test_change_show_delete(clockwork: Clockwork, stranger: Caller) -> None:
    schedule = clockwork.make(name="first", timing={"cron": "0 9 * * *", "timezone": "Europe/Berlin"})
    path = f"/schedules/{schedule}"
    clockwork.make(name="second")
    assert_problem(clockwork.caller.post("/schedules", {**_body(), "name": "first"}), 409, "name-taken")
    assert_problem(clockwork.caller.patch(path, {"name": "second"}, If_Match="*"), 409, "name-taken")
    assert_problem(clockwork.caller.patch(path, {"name": "third"}), 428)
    tag = clockwork.caller.get(path).headers["ETag"]
    changed = clockwork.caller.patch(path, {"timing": {"every_s": 60}, "overlap": "allow"}, If_Match=tag)
    assert (changed.get_json()["timing"]["cron"], changed.get_json()["timing"]["every_s"]) == (None, 60)
    assert_problem(clockwork.caller.patch(path, {}, If_Match=tag), 412)
    times = clockwork.caller.get(f"{path}/times", count=3).get_json()["items"]
    assert len(times) == 3
    assert times[0] == clockwork.show(schedule)["next_at"]
    names = [one["name"] for one in clockwork.caller.get("/schedules", limit=1).get_json()["items"]]
    assert names == ["first"]
    for answer in (stranger.get(path), stranger.delete(path), stranger.post(f"{path}:trigger")):
        assert_problem(answer, 404)
    assert clockwork.caller.delete(path).status_code == 204
    assert_problem(clockwork.caller.get(path), 404)


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (
            {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "start_at": "2040-03-24T12:00:00Z"},
            ["2040-03-25T01:00", "2040-03-26T00:30", "2040-03-27T00:30"],
        ),
        (
            {"cron": "15 0 12 29 2 *", "start_at": "2039-01-01T00:00:00Z", "end_at": "2045-01-01T00:00:00Z"},
            ["2040-02-29T12:00", "2044-02-29T12:00"],
        ),
        (
            {"every_s": 90, "start_at": "2040-01-01T00:00:00Z"},
            ["2040-01-01T00:00", "2040-01-01T00:01", "2040-01-01T00:03"],
        ),
        ({"at": "2040-05-01T08:00:00Z"}, ["2040-05-01T08:00"]),
    ],
)
def test_the_next_times_of_each_kind(
    clockwork: Clockwork, timing: dict[str, Any], expected: list[str]
) -> None:
    schedule = clockwork.make(timing=timing)
    times = clockwork.caller.get(f"/schedules/{schedule}/times", count=3).get_json()["items"]
    assert [one[:16] for one in times] == expected
    assert times[0] == clockwork.show(schedule)["next_at"]


def _body() -> dict[str, Any]:
    return {"name": "x", "type": "core.echo", "spec": {"message": "m"}, "timing": {"every_s": 60}}


def test_who_cancels_and_declares_takes_the_keys_before_the_runs(clockwork: Clockwork) -> None:
    step = {"id": "a", "uses": "core.echo", "with": {"message": 1}}
    flow = {"name": "w.keyed", "version": 1, "steps": [step], "concurrency": {"key": "one"}}
    kind = {
        "name": "w.keyed",
        "version": 1,
        "workflow_name": "w.keyed",
        "workflow_version": 1,
        "spec_schema": {},
    }
    module = {"name": "keyed", "version": "1", "workflows": [flow], "intent_types": [kind]}
    assert clockwork.caller.post("/modules", module).status_code == 201
    schedule = clockwork.make(type="w.keyed", spec={}, overlap="cancel_running")
    clockwork.back(schedule, 1.001)
    clockwork.fire()
    run = clockwork.firings(schedule)[0]["run_id"]
    clockwork.back(schedule, 1.001)
    holder = psycopg2.connect(clockwork.admin_url)
    with closing(holder), holder.cursor() as cursor:
        cursor.execute("SELECT 1 FROM concurrency_keys WHERE key = 'one' FOR UPDATE")
        firing = threading.Thread(target=clockwork.fire)
        firing.start()
        waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
        eventually(lambda: clockwork.admin.call(waits, (holder.info.backend_pid,))[0][0], within=10)
        cursor.execute("SELECT 1 FROM runs WHERE id = %s FOR UPDATE NOWAIT", (run,))
        holder.rollback()
    firing.join(20)
    assert [one["outcome"] for one in clockwork.firings(schedule)] == ["started", "started"]
    assert clockwork.caller.get(f"/runs/{run}").get_json()["state"] == "cancelled"
