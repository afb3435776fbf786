"""A secret does its work, then appears nowhere: no row, no event, no message, no log."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from app.db.engine import Database
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.manage_secrets import put_secret
from tests.support.http_target import http_target
from tests.support.outbox import OutboxRig
from tests.support.rig import rig_on
from tests.support.servers import DatabaseUrls

CANARY = 'canary-"7f3e\\ü'


def everything_in_the_database(url):
    """Return all rows of all relations as text."""
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for (name,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{name}" t')
            found += [text for (text,) in cursor.fetchall()]
    return found


@pytest.fixture(scope="module")
def rig(environ, tmp_path_factory):
    environ = {**environ, "LOG_LEVEL": "DEBUG"}
    with http_target(lambda seen: (200, {}, b"you sent " + seen.body)) as target:
        allowed = {"QUANTUM_ALLOWED_HTTP_TARGETS": target.name}
        with rig_on({**environ, **allowed}, tmp_path_factory.mktemp("rig")) as rig:
            rig.worker(concurrency=1)
            yield rig, target


def test_a_secret_is_used_and_appears_nowhere(rig, database_urls: DatabaseUrls, valkey):
    rig, target = rig
    box = SecretBox(KeyRing(rig.settings.secrets_keys))
    put_secret(box, Database(rig.settings.database_url), rig.actor, "TOKEN", CANARY, None)
    run = rig.submit(
        [
            {
                "id": "call",
                "uses": "http.request",
                "with": {"url": target.url, "method": "POST", "json": {"token": "${secrets.TOKEN}"}},
            },
            {
                "id": "echo",
                "uses": "core.echo",
                "needs": ["call"],
                "with": {"message": {"now": "${secrets.TOKEN}", "then": "${steps.call.output.text}"}},
            },
            {
                "id": "fails",
                "uses": "core.assert",
                "needs": ["echo"],
                "with": {"condition": False, "message": "refused ${secrets.TOKEN}"},
            },
            {"id": "crashes", "uses": "testkit.crash", "with": {"words": "broke ${secrets.TOKEN}"}},
        ],
        {"smuggled": "${secrets.TOKEN}"},
    )
    rig.ends(run, "failed")
    # It did its work: the target got it as it is.
    assert "canary" in target.seen[0].body.decode()
    steps = rig.steps(run)
    assert steps["echo"]["input"]["message"]["now"] == "${secrets.TOKEN}"
    assert steps["echo"]["output"]["message"]["now"] == "***"
    assert steps["fails"]["error"]["message"] == "refused ***"
    assert steps["crashes"]["error"]["message"] == "ValueError: broke ***"

    events = OutboxRig(database_urls, valkey.url, rig.redis)
    events.relay().turn()
    rows = everything_in_the_database(database_urls.admin)
    assert len(rows) > 20
    stored = [rig.redis.dump(key) for key in rig.redis.scan_iter()]
    logs = [path.read_text() for path in rig.folder.glob("*.log")]
    assert "operation_raised" in "".join(logs)
    for text in [*rows, *map(repr, stored), *logs]:
        assert "canary" not in text


def test_values_from_outside_are_never_read_as_references(rig):
    rig, _ = rig
    run = rig.submit(
        [{"id": "echo", "uses": "core.echo", "with": {"message": "${spec.text}"}}],
        {"text": "${secrets.TOKEN}"},
    )
    rig.ends(run)
    assert rig.step(run, "echo")["output"] == {"message": "${secrets.TOKEN}"}


def test_a_missing_secret_fails_the_step_and_names_it(rig):
    rig, _ = rig
    run = rig.submit([{"id": "echo", "uses": "core.echo", "with": {"message": "${secrets.ABSENT}"}}])
    rig.ends(run, "failed")
    assert rig.step(run, "echo")["error"]["message"] == "no such secret: ABSENT"
