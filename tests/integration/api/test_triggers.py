"""Triggers: kept over HTTP, fired as beat fires them, told by signed messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from standardwebhooks.webhooks import Webhook
from werkzeug.test import TestResponse

from app.api.limits import TenantLimits
from app.db import trigger_work
from app.db.engine import Database
from app.domain.triggers import MAX_DEPTH
from app.services import fire_triggers as service
from app.services.fire_triggers import fire_triggers
from app.services.flags import Defaults
from tests.support.http_api import Caller, Platform, assert_problem
from tests.support.servers import DatabaseUrls

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
RUN = "runs/01890000-0000-7000-8000-0000000000ff"
EMIT = "SELECT emit_event(%s, %s, %s, %s, %s, '{}')"


@dataclass(frozen=True)
class Bench:
    """The platform's triggers, which hear when a test says so."""

    platform: Platform
    slug: str
    caller: Caller
    admin: Database

    @property
    def tenant(self) -> UUID:
        return UUID(self.caller.tenant_id)

    def hear(self) -> None:
        system = self.platform.parts.platform
        system.call("SELECT sequence_events(1000)")
        fire_triggers(self.platform.parts.submit, system, Defaults())

    def happen(self, subject: str, seq: int, kind: str, data: Mapping[str, Any]) -> None:
        with self.platform.parts.database.tenant(self.tenant) as connection:
            connection.exec_driver_sql(EMIT, (self.tenant, subject, seq, kind, json.dumps(dict(data))))

    def make(self, document: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        body = {
            "name": f"n{uuid4().hex[:8]}",
            "on": {"types": ["run.failed"]},
            "type": "core.echo",
            "spec": {"message": "${event.subject}: ${event.data.code}"},
            **(document or {}),
            **more,
        }
        made = self.caller.post("/triggers", body)
        assert made.status_code == 201, made.text
        return dict(made.get_json())

    def firings(self, trigger: Mapping[str, Any]) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.caller.get(f"/triggers/{trigger['id']}/firings").get_json()[
            "items"
        ]
        return items[::-1]

    def intent(self, firing: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self.caller.get(f"/intents/{firing['intent_id']}").get_json())

    def send(
        self,
        trigger: Mapping[str, Any],
        data: Any,
        *,
        message_id: str = "m1",
        secret: str | None = None,
        age: float = 0,
        path: str | None = None,
        body: str | None = None,
    ) -> TestResponse:
        """Post a message signed by the reference library."""
        text = json.dumps(data) if body is None else body
        at = datetime.now(UTC) - timedelta(seconds=age)
        signature = Webhook(secret or trigger["secret"]).sign(message_id, at.replace(tzinfo=None), text)
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": signature,
            "Content-Type": "application/json",
        }
        return self.platform.app.test_client().post(path or trigger["path"], data=text, headers=headers)

    def events(self, trigger: Mapping[str, Any]) -> list[tuple[str, Any]]:
        rows = self.admin.call(
            "SELECT type, data ->> 'reason' FROM events WHERE subject = %s ORDER BY seq",
            (f"triggers/{trigger['id']}",),
        )
        return [(row[0].removeprefix("io.quantum.trigger."), row[1]) for row in rows]


@pytest.fixture
def bench(platform: Platform, database_urls: DatabaseUrls) -> Iterator[Bench]:
    admin = Database(database_urls.admin, "admin")
    yield Bench(platform, *platform.tenant(), admin)
    admin.call("DELETE FROM triggers RETURNING id")
    admin.dispose()


def test_an_event_that_fits_starts_an_intent_once(bench: Bench) -> None:
    bench.happen(RUN, 1, "run.failed", {"code": "old"})
    bench.hear()
    trigger = bench.make(yaml.safe_load((EXAMPLES / "trigger.yaml").read_text().replace("on:", '"on":')))
    bench.happen(RUN, 2, "run.failed", {"code": "cancelled"})
    bench.happen(RUN, 3, "run.failed", {"code": "boom"})
    bench.happen(RUN, 4, "run.started", {"code": "boom"})
    bench.hear()
    bench.hear()
    (firing,) = bench.firings(trigger)
    assert (firing["outcome"], firing["depth"], firing["subject"]) == ("fired", 1, RUN)
    intent = bench.intent(firing)
    assert intent["spec"] == {"message": f"{RUN} failed with boom"}
    assert intent["labels"] == {"made-by": "trigger", "trigger": "tell-of-failures"}
    assert bench.caller.get(f"/runs/{firing['run_id']}").status_code == 200
    assert bench.events(trigger) == [("created", None), ("fired", None)]


def test_two_beats_and_a_cursor_set_back_fire_once(bench: Bench) -> None:
    trigger = bench.make()
    for number in range(60):
        bench.happen(f"{RUN[:-2]}{number:02d}", 1, "run.failed", {"code": "x"})
    racing = [threading.Thread(target=bench.hear) for _ in range(2)]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join()
    bench.hear()
    bench.admin.call("UPDATE relay_cursors SET position = 0 WHERE sink = 'triggers'")
    bench.hear()
    assert bench.admin.call(
        "SELECT count(*), count(DISTINCT event_id) FROM trigger_firings WHERE trigger_id = %s",
        (trigger["id"],),
    ) == [(60, 60)]
    assert bench.admin.call("SELECT count(*) FROM runs WHERE tenant_id = %s", (bench.tenant,)) == [(60,)]


def test_dying_between_declaring_and_noting_leaves_neither(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = bench.make()
    bench.happen(RUN, 1, "run.failed", {"code": "x"})

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(service.store, "note", die)
        bench.hear()
    assert bench.admin.call("SELECT count(*) FROM runs WHERE tenant_id = %s", (bench.tenant,)) == [(0,)]
    bench.hear()
    assert [one["outcome"] for one in bench.firings(trigger)] == ["fired"]


def test_a_trigger_that_fires_itself_is_stopped(bench: Bench) -> None:
    trigger = bench.make(on={"types": ["intent.created"]}, spec={"message": "again"})
    first = bench.caller.post("/intents", {"type": "core.echo", "spec": {"message": "first"}})
    assert first.status_code == 202
    for _ in range(MAX_DEPTH + 3):
        bench.hear()
    firings = bench.firings(trigger)
    assert [one["depth"] for one in firings] == list(range(1, MAX_DEPTH + 2))
    assert [one["outcome"] for one in firings] == ["fired"] * MAX_DEPTH + ["skipped"]
    assert firings[-1]["reason"] == "loop"
    assert bench.events(trigger)[-1] == ("skipped", "loop")


def test_a_tree_of_firings_is_cut_by_its_width(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (service, trigger_work):
        monkeypatch.setattr(module, "MAX_CHAIN", 5)
    both = [bench.make(on={"types": ["intent.created"]}, spec={"message": "again"}) for _ in range(2)]
    for _ in range(2):
        assert (
            bench.caller.post("/intents", {"type": "core.echo", "spec": {"message": "x"}}).status_code == 202
        )
    for _ in range(MAX_DEPTH):
        bench.hear()
    found = [firing for trigger in both for firing in bench.firings(trigger)]
    assert [one["outcome"] for one in found].count("fired") == 2 * 5, "each first intent has its own count"
    assert {one["reason"] for one in found if one["outcome"] == "skipped"} == {"loop"}


def test_what_is_refused_is_told_and_holds_nobody(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = bench.make(spec={"message": "${event.data.nothing}"})
    wrong = bench.make(on={"types": ["run.failed"], "filter": "event.data.code"})
    unfit = bench.make(spec={"message": "x", "other": "${event.data.code}"})
    right = bench.make()
    bench.happen(RUN, 1, "run.failed", {"code": "x"})
    bench.hear()
    for trigger, words in ((absent, "nothing"), (wrong, "not true or false"), (unfit, "other")):
        (firing,) = bench.firings(trigger)
        assert firing["outcome"] == "failed"
        assert words in firing["reason"]
    assert [one["outcome"] for one in bench.firings(right)] == ["fired"]
    monkeypatch.setattr(
        service, "submission", lambda row, heard: 1 / 0 if row["name"] == right["name"] else None
    )
    bench.happen(RUN, 2, "run.failed", {"code": "x"})
    bench.hear()
    assert "ZeroDivisionError" in bench.firings(right)[-1]["reason"]


def test_what_happens_in_a_pause_is_not_heard(bench: Bench) -> None:
    trigger = bench.make()
    path = f"/triggers/{trigger['id']}"
    paused = bench.caller.post(f"{path}:pause", {"reason": "too many"}).get_json()
    assert (paused["state"], paused["pause_reason"]) == ("paused", "too many")
    bench.happen(RUN, 1, "run.failed", {"code": "x"})
    bench.platform.parts.platform.call("SELECT sequence_events(1000)")
    assert bench.caller.post(f"{path}:resume").get_json()["state"] == "active"
    bench.happen(RUN, 2, "run.failed", {"code": "y"})
    bench.hear()
    assert [bench.intent(one)["spec"]["message"] for one in bench.firings(trigger)] == [f"{RUN}: y"]
    assert [kind for kind, _ in bench.events(trigger)] == ["created", "paused", "resumed", "fired"]


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"on": {"types": ["*"], "filter": "size(event.data)"}}, "/on/filter"),
        ({"on": {"types": ["run.exploded"]}}, "/types/0"),
        ({"on": {"types": ["trigger.*"]}}, "/on/types/0"),
        ({"on": {}}, "/on/types"),
        ({"on": {"source": "inbound", "types": ["run.failed"]}}, "/on/types"),
        ({"on": {"types": ["*"], "filter": "spec.x"}}, "/on/filter"),
        ({"spec": {"message": "${run.x}"}}, "/spec"),
        ({"spec": {"message": "${secrets.KEY}"}}, "/spec"),
        ({"spec": {"wrong": 1}}, "/spec"),
    ],
)
def test_a_trigger_that_can_never_do_is_refused(bench: Bench, more: dict[str, Any], pointer: str) -> None:
    body = {"name": "n", "on": {"types": ["*"]}, "type": "core.echo", "spec": {"message": "x"}, **more}
    problem = assert_problem(bench.caller.post("/triggers", body), 422)
    assert problem["errors"][0]["pointer"].startswith(pointer), problem


def test_a_signed_message_starts_an_intent_once(bench: Bench) -> None:
    listens = {"source": "inbound", "filter": 'event.data.ref == "refs/heads/main"'}
    trigger = bench.make(name="deploy", on=listens, spec={"message": "deploy ${event.data.after}"})
    assert trigger["path"] == f"/hooks/{bench.slug}/deploy"
    assert "secret" not in bench.caller.get(f"/triggers/{trigger['id']}").get_json()
    message = {"ref": "refs/heads/main", "after": "abc"}
    first = bench.send(trigger, message)
    assert first.status_code == 202, first.text
    again = bench.send(trigger, message)
    assert again.get_json() == first.get_json()
    other = bench.send(trigger, {"ref": "refs/heads/topic"}, message_id="m2").get_json()
    assert (other["outcome"], other["reason"], other["run_id"]) == ("skipped", "filter", None)
    assert [one["outcome"] for one in bench.firings(trigger)] == ["fired", "skipped"]
    assert bench.intent(bench.firings(trigger)[0])["spec"] == {"message": "deploy abc"}


def test_a_refused_message_may_come_again(bench: Bench) -> None:
    trigger = bench.make(on={"source": "inbound"}, spec={"message": "${event.data.text}"})
    assert_problem(bench.send(trigger, {}), 422)
    assert_problem(bench.send(trigger, {}, body="no json"), 400)
    assert_problem(bench.send(trigger, []), 422)
    changed = bench.caller.patch(f"/triggers/{trigger['id']}", {"spec": {"message": "fixed"}}, If_Match="*")
    assert changed.status_code == 200, changed.text
    assert bench.send(trigger, {}).get_json()["outcome"] == "fired"


def test_every_refusal_of_a_sender_looks_the_same(bench: Bench) -> None:
    trigger = bench.make(on={"source": "inbound"}, spec={"message": "x"})
    events = bench.make()
    quiet = bench.make(on={"source": "inbound"}, spec={"message": "x"})
    bench.caller.post(f"/triggers/{quiet['id']}:pause")
    stranger = "whsec_" + "A" * 43 + "="
    answers = [
        bench.send(trigger, {}, secret=stranger),
        bench.send(trigger, {}, age=400),
        bench.send(trigger, {}, age=-400),
        bench.send(quiet, {}),
        bench.send(trigger, {}, path=f"/hooks/{bench.slug}/nobody"),
        bench.send(trigger, {}, path=f"/hooks/{bench.slug}/{events['name']}"),
        bench.send(trigger, {}, path="/hooks/nobody/deploy"),
        bench.platform.app.test_client().post(trigger["path"], json={}),
    ]
    # What names the request, or repeats its path, differs for each.
    own = {"instance": "", "request_id": "", "trace_id": ""}
    told = {json.dumps({**assert_problem(answer, 401), **own}) for answer in answers}
    assert len(told) == 1
    assert bench.firings(trigger) == []


def test_both_secrets_are_taken_during_the_overlap(bench: Bench) -> None:
    trigger = bench.make(on={"source": "inbound"}, spec={"message": "x"})
    path = f"/triggers/{trigger['id']}:rotate-secret"
    fresh = bench.caller.post(path, {"overlap_s": 3600}, If_Match="*").get_json()["secret"]
    for number, secret in enumerate((trigger["secret"], fresh)):
        assert bench.send(trigger, {}, secret=secret, message_id=f"m{number}").status_code == 202
    last = bench.caller.post(path, {"overlap_s": 0}, If_Match="*").get_json()["secret"]
    assert bench.send(trigger, {}, secret=fresh, message_id="m8").status_code == 401
    assert bench.send(trigger, {}, secret=last, message_id="m9").status_code == 202


def test_messages_are_bounded_in_size_and_rate(
    bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = bench.make(on={"source": "inbound"}, spec={"message": "x"})
    assert_problem(bench.send(trigger, {"x": "y" * 300_000}), 413)
    assert bench.firings(trigger) == []
    few = TenantLimits(redis_url, 3, name=uuid4().hex)
    check = TenantLimits.check
    monkeypatch.setattr(TenantLimits, "check", lambda _, key: check(few, key))
    answers = [bench.send(trigger, {}, message_id=f"m{number}").status_code for number in range(6)]
    assert answers[0] == 202
    assert answers[-1] == 429


def test_the_addresses_of_one_network_are_one_sender(
    bench: Bench, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = TenantLimits(redis_url, 3, name=uuid4().hex)
    check = TenantLimits.check
    monkeypatch.setattr(TenantLimits, "check", lambda _, key: check(few, key))

    def guess(address: str) -> int:
        client = bench.platform.app.test_client()
        return client.post("/hooks/nobody/here", data="{}", environ_base={"REMOTE_ADDR": address}).status_code

    assert {guess(f"2001:db8::{number}") for number in range(6)} == {401, 429}
    assert guess("2001:db8::99") == 429
    assert guess("2001:db8:0:1::1") == 401
