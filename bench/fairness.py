"""A small tenant beside a crowd, printed: `python -m bench.fairness [runs]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from uuid import UUID

import redis

from app.domain.identity import Actor
from app.services.submit import Submission, SubmitDeps, submit_intents
from tests.support.database import cloned_database
from tests.support.rig import Rig, rig_on
from tests.support.servers import postgres_cluster, valkey_server
from tests.support.waiting import eventually

CROWD = 5_000
FEW = 10
AT_ONCE = 1_000
WITHIN_S = 1_200.0
STEP = {"id": "a", "uses": "core.echo", "with": {"message": 1}}

_WAITS = """
  SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at)) AS p95,
         count(*) / extract(epoch FROM max(finished_at) - min(created_at)) AS rate
  FROM runs WHERE tenant_id = ANY (%s)
"""


def main(crowd: int) -> None:
    """Run a crowd alone, then beside ten runs of another tenant that come a moment later."""
    with (
        postgres_cluster() as cluster,
        valkey_server() as server,
        tempfile.TemporaryDirectory() as folder,
        cloned_database(cluster) as urls,
    ):
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        environ = {
            "ENVIRONMENT": "test",
            "QUANTUM_STATE_DIR": folder,
            **urls.environment(),
            "REDIS_URL": server.url,
            "LOG_LEVEL": "WARNING",
        }
        with rig_on(environ, Path(folder)) as rig:
            rig.worker()
            rig.beat()
            _show(rig, crowd)


def _show(rig: Rig, crowd: int) -> None:
    deps = rig.deps({"name": "bench.fair", "version": 1, "steps": [STEP]})
    alone = rig.tenant()
    _submit(deps, alone, crowd)
    _all_ended(rig)
    big, small = rig.tenant(), rig.tenant()
    _submit(deps, big, crowd)
    _submit(deps, small, FEW)
    _all_ended(rig)
    _, rate_alone = _figures(rig, alone.tenant_id)
    p95_big, _ = _figures(rig, big.tenant_id)
    p95_small, _ = _figures(rig, small.tenant_id)
    _, rate_both = _figures(rig, big.tenant_id, small.tenant_id)
    print(f"alone: {crowd} runs, {rate_alone:.0f} runs/s")
    print(f"both:  {crowd} + {FEW} runs, {rate_both:.0f} runs/s ({rate_both / rate_alone - 1:+.1%})")
    share = p95_small / p95_big
    print(f"p95 wait: crowd {p95_big:.2f} s, the ten {p95_small:.3f} s ({share:.1%} of the crowd's)")


def _submit(deps: SubmitDeps, actor: Actor, runs: int) -> None:
    for start in range(0, runs, AT_ONCE):
        items = [Submission("bench.fair", {})] * min(AT_ONCE, runs - start)
        submit_intents(deps, actor, items)


def _all_ended(rig: Rig) -> None:
    open_runs = "SELECT count(*) AS n FROM runs WHERE state IN ('queued', 'running')"
    eventually(lambda: rig.rows(open_runs)[0]["n"] == 0, within=WITHIN_S, every=0.5, what="all runs end")


def _figures(rig: Rig, *tenants: UUID) -> tuple[float, float]:
    row = rig.rows(_WAITS, list(tenants))[0]
    return float(row["p95"]), float(row["rate"])


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else CROWD)
