"""Ten thousand failed runs retried at once, beat killed in the middle, while a neighbour goes on working."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest

from app.domain.bulk import BulkAction
from app.services.bulk_actions import BulkOrder, create_bulk_action, show_bulk_action
from app.services.submit import Submission, submit_intents
from tests.support.rig import Rig, kill, rig_on
from tests.support.servers import DatabaseUrls
from tests.support.waiting import eventually

pytestmark = pytest.mark.scale

RUNS = 10_000
NEIGHBOURS = 40
WITHIN_S = 1200.0
LONGEST_WAIT_S = 5.0

# The history of one run that failed, many times over.
CLONE = """
  SET LOCAL session_replication_role = replica;
  CREATE TEMP TABLE ids AS
    SELECT jsonb_build_object('id', run, 'intent_id', intent) AS run,
           jsonb_build_object('run_id', run) AS step,
           jsonb_build_object('id', intent, 'intent_id', intent) AS intent
    FROM (SELECT uuid_v7() AS run, uuid_v7() AS intent FROM generate_series(1, %(more)s)) made;
  INSERT INTO intents SELECT (jsonb_populate_record(i, ids.intent)).* FROM ids, intents i;
  INSERT INTO intent_generations
    SELECT (jsonb_populate_record(g, ids.intent)).* FROM ids, intent_generations g;
  INSERT INTO runs SELECT (jsonb_populate_record(r, ids.run)).* FROM ids, runs r;
  INSERT INTO run_steps SELECT (jsonb_populate_record(s, ids.step)).* FROM ids, run_steps s;
  ANALYZE runs, run_steps, intents;
"""


@pytest.fixture
def rig(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """A worker of two processes."""
    with rig_on(environ, tmp_path_factory.mktemp("bulk")) as rig:
        rig.worker()
        yield rig


def failed_runs(rig: Rig, urls: DatabaseUrls) -> None:
    """Make `RUNS` runs that failed, the first and only ones here."""
    broken = {"id": "broken", "uses": "testkit.fail_without", "with": {"gate": "mended"}}
    run = rig.submit([broken])
    rig.ends(run, "failed")
    with closing(psycopg2.connect(urls.admin)) as session, session, session.cursor() as cursor:
        cursor.execute(CLONE, {"more": RUNS - 1})
    rig.open_gate("mended")


class Neighbour:
    """Another tenant, who submits a run whenever the bulk action has come a fortieth further."""

    def __init__(self, rig: Rig, made: BulkAction) -> None:
        self.rig, self.made = rig, made
        self.actor = rig.tenant()
        self.asked = 0

    def look(self) -> int:
        """Return how far the bulk action has come."""
        rig = self.rig
        done = show_bulk_action(rig.base.engine.database, rig.actor, self.made.id).done
        if self.asked < NEIGHBOURS and self.asked * RUNS // NEIGHBOURS <= done:
            submit_intents(rig.base, self.actor, [Submission("core.echo", {"message": "hello"})], atomic=True)
            self.asked += 1
        return done

    def waits(self) -> dict[str, Any]:
        """Return the seconds from submit to the first step."""
        return self.rig.rows(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY wait) AS p50, max(wait) AS longest,"
            " percentile_cont(0.95) WITHIN GROUP (ORDER BY wait) AS p95, count(*) AS runs"
            " FROM (SELECT extract(epoch FROM started_at - created_at)::float AS wait FROM runs"
            " WHERE tenant_id = %s) waits",
            self.actor.tenant_id,
        )[0]


def test_a_retry_of_ten_thousand_runs_starves_nobody(
    rig: Rig, database_urls: DatabaseUrls, capsys: pytest.CaptureFixture[str]
) -> None:
    beat = rig.beat()
    failed_runs(rig, database_urls)
    made = create_bulk_action(rig.base, rig.actor, BulkOrder("retry", {"state": "failed"}, rate=500.0))
    assert made.total == RUNS
    neighbour = Neighbour(rig, made)
    eventually(lambda: neighbour.look() > RUNS // 4, within=WITHIN_S, every=0.2)
    kill(beat.pid)
    rig.beat("second")
    eventually(lambda: neighbour.look() == RUNS, within=WITHIN_S, every=0.2, what="another beat goes on")
    unended = "SELECT 1 FROM runs WHERE state NOT IN ('succeeded', 'failed') LIMIT 1"
    eventually(lambda: rig.rows(unended) == [], within=120.0, every=0.5)
    waits = neighbour.waits()
    took = rig.rows(
        "SELECT extract(epoch FROM finished_at - created_at)::float AS s, counts FROM bulk_actions"
    )[0]
    with capsys.disabled():
        print(f"\nretry of {RUNS}: {took['s']:.0f} s, {RUNS / took['s']:.0f} a second; neighbour: {waits}")
    assert took["counts"] == {"ok": RUNS}
    once = rig.rows(
        "SELECT round, state, count(*)::integer AS n FROM run_steps WHERE tenant_id = %s GROUP BY 1, 2",
        rig.actor.tenant_id,
    )
    assert once == [{"round": 1, "state": "succeeded", "n": RUNS}], "each was retried once"
    assert waits["p95"] < LONGEST_WAIT_S
