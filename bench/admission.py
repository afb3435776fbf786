"""The price of fair admission, printed: `python -m bench.admission`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

import psycopg2
from psycopg2.extras import execute_values, register_uuid

from app.db.admission import admit
from app.db.engine import Database
from tests.support.database import cloned_database
from tests.support.servers import DatabaseUrls, postgres_cluster

RUNS = 100_000
TENANTS = (1, 100, 1_000)
AT_A_LOOK = 32
LOOKS = 30
NO_LIMIT = 1_000_000

_RUN = """
  INSERT INTO runs (tenant_id, id, intent_id, generation, type_name, plan_hash, workflow_name,
                    workflow_version, pool, open_steps)
  SELECT t.id, uuid_v7(), t.id, 1, 't', 'h', 'w', 1, 'default', 1
  FROM unnest(%s::uuid[]) AS t (id) CROSS JOIN generate_series(1, %s)
"""

register_uuid()


def main() -> None:
    """Measure admissions a second with 100,000 waiting runs of 1, 100, 1,000 tenants."""
    with postgres_cluster() as cluster:
        for tenants in TENANTS:
            with cloned_database(cluster) as urls, _system(urls) as system:
                _fill(urls, [uuid4() for _ in range(tenants)])
                rate, slowest = _rate(system)
                print(
                    f"{tenants:>5} waiting tenants, {RUNS:,} waiting runs:"
                    f" {rate:,.0f} admissions/s, slowest look {slowest * 1000:.1f} ms"
                )


@contextmanager
def _system(urls: DatabaseUrls) -> Iterator[Database]:
    system = Database(urls.system, "system")
    yield system
    system.dispose()


def _fill(urls: DatabaseUrls, tenants: Sequence[UUID]) -> None:
    with psycopg2.connect(urls.admin) as session, session.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        names = [(tenant, f"t-{tenant.hex[:20]}") for tenant in tenants]
        execute_values(cursor, "INSERT INTO tenants (id, slug, name) VALUES %s", names, "(%s, %s, 'T')")
        cursor.execute(_RUN, (list(tenants), RUNS // len(tenants)))
        cursor.execute("SELECT relist_waiting()")
        cursor.execute("ANALYZE")
    session.close()


def _rate(system: Database) -> tuple[float, float]:
    """Return admissions a second, and the seconds of the slowest look."""
    admit(system, AT_A_LOOK, NO_LIMIT, 1, "bench")
    took, admitted = [], 0
    for _ in range(LOOKS):
        began = time.perf_counter()
        admitted += len(admit(system, AT_A_LOOK, NO_LIMIT, 1, "bench"))
        took.append(time.perf_counter() - began)
    return admitted / sum(took), max(took)


if __name__ == "__main__":
    main()
