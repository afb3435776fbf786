"""What a receiver may do wrong, what of it is forgiven, what is never followed."""

from __future__ import annotations

import signal
import socket
import threading
from collections import Counter
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.errors import InvalidInput
from app.services.manage_webhooks import change_webhook, rotate_secret, show_webhook
from app.services.replay_webhooks import replay_dead, replay_delivery, replay_events, send_ping, show_delivery
from tests.integration.webhooks.conftest import Serve
from tests.support.prepared import Program
from tests.support.servers import DatabaseUrls, surroundings
from tests.support.waiting import eventually
from tests.support.webhooks import OK, QUICK, HookRig, Receiver


def test_both_secrets_sign_during_the_overlap(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    made = rotate_secret(rig.deps, rig.actor(), hook.id, None, 3600)
    assert len(made.row["secrets"]) == 2
    rig.emit("runs/a", 1, 1)
    with rig.delivering():
        rig.wait(hook, delivered=1)
        (seen,) = target.seen
        for secret in (hook.secret, made.secret):
            Webhook(secret).verify(seen.body, seen.headers)
        rotate_secret(rig.deps, rig.actor(), hook.id, None, 0)
        rig.emit("runs/a", 2, 2)
        rig.wait(hook, delivered=2)
    with pytest.raises(WebhookVerificationError):
        Webhook(made.secret).verify(target.seen[1].body, target.seen[1].headers)


def test_no_secret_stands_in_the_clear(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    receiver.answer = lambda *_: (200, {}, f"thanks {hook.secret} {key()} Bearer abcdefghijkl".encode())

    def key() -> str:
        return hook.secret.removeprefix("whsec_")

    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 1)
    with rig.delivering():
        rig.wait(hook, delivered=1)
    (response,) = rig.admin.call("SELECT response FROM webhook_attempts WHERE webhook_id = %s", (hook.id,))
    assert response == ("thanks *** *** Bearer ***",)
    for (relation,) in rig.admin.call(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
    ):
        text = rig.admin.call(f"SELECT count(*) FROM {relation} r WHERE r::text LIKE %s", (f"%{key()}%",))
        assert text == [(0,)], relation


def test_the_breaker_opens_asks_once_closes(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    down = threading.Event()
    down.set()
    receiver.answer = lambda *_: (503, {}, b"") if down.is_set() else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    for number in range(30):
        rig.emit(f"runs/{number}", 1, 1)
    with rig.delivering(rig.deliverer(replace(QUICK, breaker_first_s=600.0))):
        eventually(lambda: rig.queue(hook)["breaker"] == "open", within=10)
        shown = show_webhook(rig.app, rig.actor(), hook.id)
        assert shown["breaker"] == "open"
        assert shown["retry_at"] is not None
        sent = len(target.seen)
        assert 5 <= sent <= 5 + QUICK.of_endpoint
        rig.age(hook, 0)  # as if the ten minutes had passed
        eventually(lambda: len(target.seen) > sent and rig.queue(hook)["lease_owner"] is None, within=10)
        assert len(target.seen) == sent + 1, "half open lets one through"
        assert rig.queue(hook)["openings"] == 2
        down.clear()
        rig.age(hook, 0)
        rig.wait(hook, delivered=30)
    assert rig.queue(hook)["breaker"] == "closed"


def test_after_a_day_a_delivery_is_dead_and_comes_again_by_replay(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    down = threading.Event()
    down.set()
    receiver.answer = lambda *_: (500, {}, b"") if down.is_set() else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 3)
    with rig.delivering(rig.deliverer(replace(QUICK, breaker_failures=1, breaker_first_s=600.0))):
        eventually(lambda: rig.queue(hook)["breaker"] == "open", within=10)
        rig.age(hook, 23)
        eventually(lambda: rig.queue(hook)["openings"] == 2 and len(target.seen) == 2, within=10)
        assert rig.states(hook) == Counter(pending=3)
        rig.age(hook, 1.1)
        # The others were never tried themselves: their endpoint was.
        rig.wait(hook, dead=3)
        assert len(target.seen) == 3
        down.clear()
        change_webhook(rig.deps, rig.actor(), hook.id, None, {"state": "active", "url": f"{target.url}/new"})
        assert replay_dead(rig.deps, rig.actor(), hook.id).replayed == 3
        rig.wait(hook, delivered=3)
    events = [hook.verified(seen)["sequence"][-1] for seen in target.seen[3:]]
    assert events == ["1", "2", "3"]
    assert target.seen[-1].path == "/new"


def test_gone_disables_and_keeps_what_waits(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    gone = threading.Event()
    gone.set()
    receiver.answer = lambda *_: (410, {}, b"") if gone.is_set() else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 2)
    with rig.delivering():
        eventually(lambda: show_webhook(rig.app, rig.actor(), hook.id)["state"] == "disabled", within=10)
        shown = show_webhook(rig.app, rig.actor(), hook.id)
        assert "410" in shown["disabled_reason"]
        eventually(lambda: rig.queue(hook)["lease_owner"] is None, within=10)
        assert rig.states(hook) == Counter(pending=2)
        assert len(target.seen) == 1
        gone.clear()
        change_webhook(rig.deps, rig.actor(), hook.id, None, {"state": "active"})
        rig.wait(hook, delivered=2)
    events = rig.admin.call(
        "SELECT type FROM events WHERE subject = %s ORDER BY seq", (f"webhooks/{hook.id}",)
    )
    assert [row[0] for row in events] == [
        f"io.quantum.webhook.{name}" for name in ("created", "disabled", "changed")
    ]


def test_an_endpoint_that_fails_for_days_is_disabled_until_somebody_enables_it(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    down = threading.Event()
    down.set()
    receiver.answer = lambda *_: (500, {}, b"") if down.is_set() else OK
    hook = rig.hook(serve(receiver), ["run.*"])

    def shown() -> dict[str, Any]:
        return show_webhook(rig.app, rig.actor(), hook.id)

    rig.emit("runs/a", 1, 2)
    with rig.delivering(rig.deliverer(replace(QUICK, breaker_failures=1, breaker_first_s=600.0))):
        eventually(lambda: shown()["failing_since"] is not None, within=10)
        rig.failing(hook, receiver, days=4, last_hours=1)
        assert shown()["state"] == "active", "not five days yet"
        rig.failing(hook, receiver, days=9, last_hours=25)
        recent = datetime.now(UTC) - timedelta(hours=1)
        assert shown()["failing_since"] > recent, "nobody asked it for a day: what was before does not count"
        rig.failing(hook, receiver, days=5, last_hours=1)
        eventually(lambda: shown()["state"] == "disabled", within=10)
        assert shown()["disabled_reason"].startswith("every attempt failed since ")
        assert rig.states(hook) == Counter(pending=2), "what waits is kept"
        down.clear()
        change_webhook(rig.deps, rig.actor(), hook.id, None, {"state": "active"})
        rig.wait(hook, delivered=2)
    assert (shown()["failing_since"], shown()["disabled_reason"]) == (None, None)
    marks = rig.admin.call(
        "SELECT type, data ->> 'reason' LIKE 'every attempt failed%%' FROM events"
        " WHERE subject = %s ORDER BY seq",
        (f"webhooks/{hook.id}",),
    )
    assert marks == [
        ("io.quantum.webhook.created", None),
        ("io.quantum.webhook.disabled", True),
        ("io.quantum.webhook.changed", None),
    ]
    audited = rig.admin.call(
        "SELECT actor ->> 'email' FROM audit_records WHERE subject = %s AND action = 'webhook.disable'",
        (f"webhooks/{hook.id}",),
    )
    assert audited == [("webhooks",)]


def test_retry_after_holds_the_endpoint(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    receiver.answer = lambda _, times: (429, {"Retry-After": "300"}, b"") if times == 1 else OK
    hook = rig.hook(serve(receiver), ["run.*"])
    rig.emit("runs/a", 1, 2)
    with rig.delivering():
        eventually(lambda: rig.queue(hook)["hold_until"] is not None, within=10)
        waits = rig.admin.call(
            "SELECT extract(epoch FROM hold_until - now()) > 200, due_at >= hold_until FROM webhook_queues"
            " WHERE webhook_id = %s",
            (hook.id,),
        )
        assert waits == [(True, True)]
    assert sum(receiver.times.values()) == 1


def test_a_redirect_is_not_followed(rig: HookRig, serve: Serve, receiver: Receiver) -> None:
    secret_place = serve(receiver)
    target = serve(lambda _: (307, {"Location": f"{secret_place.url}/x"}, b""))
    rig.allowed = (secret_place.name,)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 1)
    with rig.delivering(rig.deliverer(replace(QUICK, attempts=2))):
        rig.wait(hook, dead=1)
    assert secret_place.seen == []
    (row,) = rig.admin.call(
        "SELECT last_status, last_error FROM webhook_deliveries WHERE webhook_id = %s", (hook.id,)
    )
    assert row == (307, "redirect_refused")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/hook",
        "https://127.0.0.1/hook",
        "https://localhost:8443/hook",
        "https://[::1]/hook",
        "https://10.1.2.3/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/hook",
        "https://user:pass@example.com/hook",
        "ftp://example.com/hook",
    ],
)
def test_an_endpoint_inside_is_refused_early(rig: HookRig, url: str) -> None:
    with pytest.raises(InvalidInput):
        rig.hook(url)


def test_a_name_that_turns_inward_is_refused_at_delivery(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    target = serve(receiver)
    hook = rig.hook("https://hooks.example.com:8443/x", ["run.*"])
    rig.emit("runs/a", 1, 1)
    looked_up: list[str] = []

    def rebind(host: str, _port: int) -> tuple[str, ...]:
        looked_up.append(host)
        return ("93.184.216.34", "10.0.0.7")

    with rig.delivering(rig.deliverer(replace(QUICK, attempts=2), resolve=rebind)):
        rig.wait(hook, dead=1)
    assert looked_up == ["hooks.example.com"] * 2, "resolved once for each attempt"
    assert target.seen == []
    rows = rig.admin.call("SELECT error FROM webhook_attempts WHERE webhook_id = %s", (hook.id,))
    assert all(row[0].startswith("target_refused") for row in rows)


def test_a_receiver_that_drips_is_hung_up(rig: HookRig) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        name = f"127.0.0.1:{server.getsockname()[1]}"
        stop = threading.Event()

        def drip() -> None:
            peer, _ = server.accept()
            with closing(peer):
                peer.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.05):
                    try:
                        peer.sendall(b"X-More: y\r\n" if not stop.is_set() else b"")
                    except OSError:
                        return

        threading.Thread(target=drip, daemon=True).start()
        rig.allowed = (name,)
        hook = rig.hook(f"http://{name}/", ["run.*"])
        rig.emit("runs/a", 1, 1)
        with rig.delivering(rig.deliverer(replace(QUICK, attempts=1, timeout_s=0.5))):
            rig.wait(hook, dead=1)
        stop.set()
    (row,) = rig.admin.call("SELECT last_error FROM webhook_deliveries WHERE webhook_id = %s", (hook.id,))
    assert row[0].startswith("timed_out")


def test_a_ping_is_tried_once_and_replays_find_the_past(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    receiver.answer = lambda event, _: (500, {}, b"") if event["type"].endswith("ping") else OK
    target = serve(receiver)
    for number in range(3):
        rig.emit(f"runs/{number}", 1, 2)
    rig.system.call("SELECT sequence_events(100)")
    hook = rig.hook(target, ["run.*"])
    with rig.delivering():
        sent = send_ping(rig.deps, rig.actor(), hook.id)
        rig.wait(hook, dead=1)
        shown = show_delivery(rig.app, rig.actor(), hook.id, sent["event_id"])
        assert [attempt["status"] for attempt in shown["log"]] == [500]
        assert hook.verified(target.seen[0])["type"] == "io.quantum.webhook.ping"
        assert replay_events(rig.deps, rig.actor(), hook.id, 0, None).replayed == 6
        rig.wait(hook, dead=1, delivered=6)
        assert replay_events(rig.deps, rig.actor(), hook.id, 0, None).replayed == 6
        eventually(lambda: len(target.seen) == 13, within=10)
        rig.wait(hook, dead=1, delivered=6)
        replay_delivery(rig.deps, rig.actor(), hook.id, sent["event_id"])
        eventually(lambda: len(target.seen) == 14, within=10)
    assert sorted(receiver.times.values()) == [2] * 7


def test_a_replayed_earlier_event_goes_before_those_that_wait(
    rig: HookRig, serve: Serve, receiver: Receiver
) -> None:
    down = threading.Event()
    receiver.answer = lambda *_: (500, {}, b"") if down.is_set() else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    rig.emit("runs/a", 1, 2)
    with rig.delivering(rig.deliverer(replace(QUICK, breaker_failures=1, breaker_first_s=600.0))):
        rig.wait(hook, delivered=2)
        down.set()
        rig.emit("runs/a", 3, 4)
        eventually(lambda: rig.queue(hook)["breaker"] == "open", within=10)
        replay_events(rig.deps, rig.actor(), hook.id, 0, None)
        sent = len(target.seen)
        down.clear()
        rig.age(hook, 0)
        rig.wait(hook, delivered=4)
    order = [int(hook.verified(seen)["sequence"]) for seen in target.seen[sent:]]
    assert order == [1, 2, 3, 4]


def test_a_deliverer_killed_in_the_middle_delivers_again_under_the_same_id(
    rig: HookRig, serve: Serve, receiver: Receiver, tmp_path: Path, database_urls: DatabaseUrls
) -> None:
    hold = threading.Event()
    receiver.answer = lambda event, times: (hold.wait(20), OK)[1] if event["sequence"][-1] == "3" else OK
    target = serve(receiver)
    hook = rig.hook(target, ["run.*"])
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "secrets.key").write_bytes(rig.kek)
    allowed = {"QUANTUM_ALLOWED_HTTP_TARGETS": target.name}
    environ = surroundings(tmp_path, database_urls, "redis://127.0.0.1:1/0", **allowed)
    rig.emit("runs/a", 1, 5)
    with Program(["quantum", "deliver"], log=tmp_path / "first.log", environ=environ) as first:
        eventually(lambda: len(target.seen) == 3, within=30)
        first.kill()
    hold.set()
    with Program(["quantum", "deliver"], log=tmp_path / "second.log", environ=environ) as second:
        rig.wait(hook, within=40, delivered=5)
        second.send(signal.SIGTERM)
        assert second.wait(within=20) == 0
    ids = [seen.headers["webhook-id"] for seen in target.seen]
    assert len(set(ids)) == 5
    assert len(ids) > 5, "what was under way came again"
    firsts = list(dict.fromkeys(int(hook.verified(seen)["sequence"]) for seen in target.seen))
    assert firsts == [1, 2, 3, 4, 5]
