"""Reads from a real streaming replica: as new as was asked for, whatever becomes of it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg2
import psycopg2.errors
import pytest
from structlog.testing import capture_logs

from app.api.app import create_app
from app.api.parts import ApiParts
from app.api.reading import HEADER, NEWEST
from app.db.engine import Database
from app.db.replica import Replica, ReplicaRules
from app.domain.errors import Unavailable
from app.observability.metrics import REGISTRY
from app.runtime.doctor import examine
from app.settings import Settings, inherited_environment, load_settings
from tests.support.http_api import Caller, Platform, echo, start_platform
from tests.support.replica import Replicated, replicated_servers
from tests.support.servers import Cluster
from tests.support.waiting import eventually

RULES = ReplicaRules(max_lag_s=60, look_s=0.05, answer_s=10)
"""Bounds that a busy machine does not reach by itself."""


@pytest.fixture(scope="module")
def servers() -> Iterator[Replicated]:
    """A primary with its replica, of this module alone."""
    with replicated_servers() as started:
        yield started


@pytest.fixture(scope="module")
def settings(servers: Replicated, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of an API that reads from the replica."""
    state: Path = tmp_path_factory.mktemp("state")
    environ = {"ENVIRONMENT": "test", "QUANTUM_STATE_DIR": str(state), **servers.urls.environment()}
    return load_settings({**environ, "REDIS_URL": redis_url, "DATABASE_REPLICA_URL": servers.replica_url})


@pytest.fixture(scope="module")
def platform(settings: Settings) -> Iterator[Platform]:
    """The application as it is wired, but for the bounds."""
    started = start_platform(settings)
    assert started.parts.replica is not None, "the settings name one"
    started.parts.replica.close()
    replica = Replica(settings.database_replica_url, started.parts.database, RULES)
    probes = {**started.parts.probes, "replica": replica.probe}
    started.parts = replace(started.parts, replica=replica, probes=probes)
    started.app.extensions["quantum"] = started.parts
    yield started
    replica.close()
    started.parts.database.dispose()
    started.parts.platform.dispose()


@pytest.fixture
def replica(platform: Platform) -> Replica:
    """The replica, in use."""
    found = platform.parts.replica
    assert found is not None
    eventually(lambda: found.refusal() is None, every=0.01, what="the replica is used")
    return found


@contextlib.contextmanager
def another(platform: Platform, url: str, rules: ReplicaRules) -> Iterator[Replica]:
    """The same replica under other bounds, in use."""
    found = Replica(url, platform.parts.database, rules)
    eventually(lambda: found.refusal() is None, every=0.01)
    try:
        yield found
    finally:
        found.close()


def reads(server: str, reason: str) -> float:
    labels = {"server": server, "reason": reason}
    return REGISTRY.get_sample_value("quantum_replica_reads_total", labels) or 0.0


def names(caller: Caller, token: str | None = None) -> set[str]:
    answer = caller.call("GET", "/intents", headers={HEADER: token} if token else {})
    assert answer.status_code == 200, answer.text
    return {item["name"] for item in answer.get_json()["items"]}


def write(caller: Caller, name: str) -> tuple[str, str]:
    """Declare an intent; return its path with the token of the answer."""
    answer = caller.post("/intents", echo(name=name))
    assert answer.status_code == 202, answer.text
    return f"/intents/{answer.get_json()['intent']['id']}", answer.headers[HEADER]


def test_a_read_with_a_token_shows_the_write_though_the_replay_stands_still(
    servers: Replicated, replica: Replica, admin: Caller
) -> None:
    _, before = write(admin, "before")
    assert "before" in names(admin, before)
    with servers.paused():
        path, token = write(admin, "behind")
        behind, missing, latest = (reads("primary", why) for why in ("behind", "not_found", "latest"))
        assert "behind" in names(admin, token)
        assert reads("primary", "behind") == behind + 1
        assert "behind" not in names(admin), (
            "without a token the replica may answer, and it has not got so far"
        )
        assert "before" in names(admin, before), "an older token does not ask for more than it says"
        assert "behind" in names(admin, NEWEST)
        assert reads("primary", "latest") == latest + 1
        assert admin.get(path).status_code == 200, "what is missing there is looked for on the primary"
        assert reads("primary", "not_found") == missing + 1
    used = reads("replica", "new_enough")
    eventually(lambda: "behind" in names(admin, token) and reads("replica", "new_enough") > used)


def test_a_read_waits_a_moment_for_the_replica(
    platform: Platform, servers: Replicated, replica: Replica, admin: Caller
) -> None:
    seen: list[set[str]] = []
    with another(platform, servers.replica_url, replace(RULES, wait_s=60)) as patient:
        caller = Caller(create_app(replace(platform.parts, replica=patient)), admin.token)
        with servers.paused():
            _, token = write(admin, "awaited")
            behind = reads("primary", "behind")
            reader = threading.Thread(target=lambda: seen.append(names(caller, token)), daemon=True)
            reader.start()
            eventually(lambda: patient._waiting == 1, every=0.01)
        reader.join(60)
    assert "awaited" in seen[0]
    assert reads("primary", "behind") == behind, "the replica has answered"


def test_a_replica_that_lags_is_left_alone_until_it_has_caught_up(
    platform: Platform, servers: Replicated, replica: Replica, admin: Caller
) -> None:
    with another(platform, servers.replica_url, replace(RULES, max_lag_s=0.4)) as strict:
        wired = replace(platform.parts, replica=strict, probes={"replica": strict.probe})
        app = create_app(wired)
        caller = Caller(app, admin.token)
        with capture_logs() as lines:
            with servers.paused():
                write(admin, "newer")
                lagging = reads("primary", "lagging")
                eventually(lambda: "newer" in names(caller), every=0.02, what="the primary is read")
                assert reads("primary", "lagging") > lagging
                ready = app.test_client().get("/readyz")
                assert (ready.status_code, ready.get_json()["status"]) == (200, "degraded")
                told = {"event": "replica_not_used", "refusal": "lagging", "log_level": "warning"}
                eventually(lambda: any(told.items() <= line.items() for line in lines), every=0.01)
            eventually(lambda: any(line["event"] == "replica_used" for line in lines), every=0.01)
        eventually(lambda: strict.refusal() is None, every=0.01)
        assert "newer" in names(admin)


def test_a_killed_replica_costs_no_read_and_comes_back_by_itself(
    platform: Platform, servers: Replicated, replica: Replica, admin: Caller
) -> None:
    _, token = write(admin, "killed")
    assert "killed" in names(admin, token)
    with another(platform, servers.replica_url, replace(RULES, look_s=60)) as unwatched:
        caller = Caller(create_app(replace(platform.parts, replica=unwatched)), admin.token)
        servers.standby.kill()
        failed = reads("primary", "failed")
        assert "killed" in names(caller), "also before anybody has noticed"
        assert reads("primary", "failed") == failed + 1
        assert unwatched.refusal() == "away"
    eventually(lambda: replica.refusal() == "away", every=0.01)
    assert "killed" in names(admin)
    assert platform.app.test_client().get("/readyz").get_json()["parts"]["replica"] == "down: Unavailable"
    assert reads("primary", "away") > 0
    servers.standby.start()
    eventually(lambda: replica.refusal() is None, every=0.02, what="the replica is used again")
    used = reads("replica", "new_enough")
    assert "killed" in names(admin)
    assert reads("replica", "new_enough") == used + 1


@contextlib.contextmanager
def frozen_watch(servers: Replicated) -> Iterator[None]:
    """Stop the server's process that answers the newest watch."""
    watching = "SELECT pid FROM pg_stat_activity WHERE application_name = 'quantum-replica-watch'"
    watcher = servers.ask(f"{watching} ORDER BY backend_start DESC LIMIT 1")
    assert isinstance(watcher, int)
    os.kill(watcher, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(watcher, signal.SIGCONT)


def test_a_watch_that_hangs_leaves_no_last_word_standing(servers: Replicated, platform: Platform) -> None:
    with (
        another(platform, servers.replica_url, replace(RULES, max_lag_s=0.4, answer_s=600)) as strict,
        frozen_watch(servers),
    ):
        eventually(lambda: strict.refusal() == "lagging", every=0.01)


def test_a_replica_that_freezes_holds_no_request(servers: Replicated, platform: Platform) -> None:
    ended: list[Exception] = []
    sleeping = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'SELECT pg_sleep%'"
    with another(platform, servers.replica_url, replace(RULES, answer_s=0.3)) as brisk:
        brisk.database.call("SELECT set_config('statement_timeout', '0', false)")

        def hang() -> None:
            try:
                brisk.database.call("SELECT pg_sleep(600)")
            except Unavailable as fault:
                ended.append(fault)

        threading.Thread(target=hang, daemon=True).start()
        eventually(lambda: servers.ask(sleeping), every=0.01)
        with frozen_watch(servers):
            eventually(lambda: ended, every=0.01, what="the read that waits for an answer is cut off")
            # Its process goes on, and what it sees would hold up the replay of a vacuum.
            servers.ask(sleeping.replace("SELECT pid", "SELECT pg_terminate_backend(pid, 30000)"))
        eventually(lambda: brisk.refusal() is None, every=0.01)


def test_only_a_replica_of_this_very_primary_is_used(
    servers: Replicated, platform: Platform, cluster: Cluster
) -> None:
    primary, stranger = platform.parts.database, Database(cluster.url("quantum_app"))
    for url, of in ((servers.urls.app, primary), (servers.replica_url, stranger)):
        other = Replica(url, of, RULES)
        eventually(lambda other=other: other.refusal() == "not_a_replica", every=0.01)  # type: ignore[misc]  # bound at once
        other.close()


def test_the_policies_hold_on_the_replica_which_takes_no_write(
    replica: Replica, platform: Platform, admin: Caller, stranger: Caller
) -> None:
    path, token = write(admin, "mine")
    assert replica.database.call("SELECT count(*) FROM intents") == [(0,)], "without a tenant, no row"
    used = reads("replica", "new_enough")
    assert "mine" not in names(stranger, token)
    assert reads("replica", "new_enough") == used + 1
    assert stranger.call("GET", path, headers={HEADER: token}).status_code == 404
    with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
        replica.database.call("INSERT INTO plans (tenant_id, hash, document) VALUES (NULL, 'x', '{}')")


def test_every_list_and_single_resource_is_read_from_the_replica(replica: Replica, admin: Caller) -> None:
    intent, _ = write(admin, "everywhere")
    run = f"/runs/{admin.get('/runs').get_json()['items'][0]['id']}"
    step = f"{run}/steps/{admin.get(run).get_json()['steps'][0]['key']}"
    schedule = {
        "name": "hourly",
        "type": "core.echo",
        "spec": {"message": "x"},
        "timing": {"cron": "0 * * * *"},
    }
    made = admin.post("/schedules", schedule)
    assert made.status_code == 201, made.text
    me = admin.get("/me").get_json()["user_id"]
    hourly = f"/schedules/{made.get_json()['id']}"
    token = made.headers[HEADER]
    lists = ("audit", "bulk-actions", "dead-letters", "events", "intent_types", "intents", "modules", "runs")
    lists += ("schedules", "secrets", "triggers", "users", "webhooks", "workflows")
    paths = [f"/{name}" for name in lists] + [intent, f"{intent}/generations", run, f"{run}/steps", hourly]
    paths += [f"{run}/timeline", step, f"{step}/logs", f"/users/{me}"]
    days = "from=2026-01-01&to=2026-01-31"
    paths += [f"{hourly}/firings", f"{hourly}/times", f"/usage?{days}", f"/usage/latencies?{days}"]
    failed = reads("primary", "failed")
    for path in paths:
        used = reads("replica", "new_enough")
        there = admin.call("GET", path, headers={HEADER: token})
        assert there.status_code == 200, (path, there.text)
        assert reads("replica", "new_enough") == used + 1, path
        here = admin.call("GET", path, headers={HEADER: NEWEST})
        assert here.get_json() == there.get_json(), path
    assert reads("primary", "failed") == failed, "nothing on these ways writes"


def test_a_column_that_has_not_come_yet_is_read_on_the_primary(
    replica: Replica, admin: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(admin, "migrated")

    def behind(_tenant: object) -> None:
        raise psycopg2.errors.UndefinedColumn

    monkeypatch.setattr(replica.database, "reading", behind)
    failed = reads("primary", "failed")
    assert "migrated" in names(admin)
    assert reads("primary", "failed") == failed + 1


def test_what_decides_is_read_from_the_primary(
    servers: Replicated, replica: Replica, platform: Platform, admin: Caller
) -> None:
    slug, chief = platform.tenant()
    member = platform.member(slug, chief, "viewer")
    user = f"/users/{member.get('/me').get_json()['user_id']}"
    with servers.paused():
        tag = chief.call("GET", user, headers={HEADER: NEWEST}).headers["ETag"]
        assert chief.patch(user, {"state": "disabled"}, If_Match=tag).status_code == 200
        platform.parts.standings._kept.clear()
        assert member.get("/runs").status_code == 401, "a closed user is out, whatever the replica says"
        first = admin.post("/intents", echo(name="once"), Idempotency_Key="once")
        again = admin.post("/intents", echo(name="once"), Idempotency_Key="once")
        assert again.headers["Idempotency-Replayed"] == "true"
        assert again.get_json() == first.get_json()


def test_a_token_that_nobody_gave_is_refused(replica: Replica, admin: Caller) -> None:
    for wrong in ("0/", "soon", "1/2/3", "123456789/0"):
        assert admin.call("GET", "/runs", headers={HEADER: wrong}).status_code == 400
    behind = reads("primary", "behind")
    assert admin.call("GET", "/runs", headers={HEADER: "FFFFFFFF/FFFFFFFF"}).status_code == 200
    assert reads("primary", "behind") == behind + 1


def test_the_doctor_knows_a_standby(servers: Replicated) -> None:
    environ = {**inherited_environment(), **servers.urls.environment(), "REDIS_URL": "redis://127.0.0.1:1"}
    found = examine({**environ, "DATABASE_REPLICA_URL": servers.replica_url}, lambda _: "")
    (replica,) = (each for each in found if each.subject == "replica")
    assert (replica.state, replica.found[:9]) == ("ok", "a standby")


def test_without_a_replica_no_token_is_given(platform: Platform, admin: Caller) -> None:
    parts: ApiParts = replace(platform.parts, replica=None)
    alone = Caller(create_app(parts), admin.token)
    answer = alone.post("/intents", echo(name="alone"))
    assert answer.status_code == 202
    assert HEADER not in answer.headers
    assert alone.call("GET", "/intents", headers={HEADER: "FFFFFFFF/0"}).status_code == 200
