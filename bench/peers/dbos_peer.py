"""DBOS: a queue polled each 20 ms, two processes, every step in PostgreSQL; a fan-out is parallel steps."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import psycopg
from dbos import DBOS, DBOSClient
from harness import POSTGRES_URL, main

SCHEMA = "bench_dbos"
VERSION = "bench"


@DBOS.step()
def noop(n: int) -> dict[str, Any]:
    return {"ok": True, "n": n}


@DBOS.step()
async def noop_async(n: int) -> dict[str, Any]:
    return {"ok": True, "n": n}


@DBOS.workflow(name="chain")
def chain(steps: int) -> dict[str, Any]:
    return [noop(n) for n in range(steps)][-1]


@DBOS.workflow(name="fanout")
async def fanout(width: int) -> dict[str, Any]:
    await noop_async(0)
    await asyncio.gather(*(noop_async(n) for n in range(width)))
    return await noop_async(width)


def work() -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": POSTGRES_URL,
            "dbos_system_schema": SCHEMA,
            "application_version": VERSION,
            "log_level": "ERROR",
        }
    )
    DBOS.launch()
    DBOS.register_queue("bench", polling_interval_sec=0.02, worker_concurrency=8)
    threading.Event().wait()


class Client:
    def __init__(self) -> None:
        DBOS.migrate(POSTGRES_URL, schema=SCHEMA)
        self._client = DBOSClient(system_database_url=POSTGRES_URL, dbos_system_schema=SCHEMA)
        self._rows = psycopg.connect(POSTGRES_URL, autocommit=True)

    def chain(self, steps: int) -> str:
        return self._enqueue("chain", steps)

    def fanout(self, width: int) -> str:
        return self._enqueue("fanout", width)

    def ended(self, run: str) -> bool:
        query = f"SELECT status FROM {SCHEMA}.workflow_status WHERE workflow_uuid = %s"
        row = self._rows.execute(query, (run,)).fetchone()
        if row is not None and row[0] in ("ERROR", "CANCELLED"):
            raise RuntimeError(f"{run} ended {row[0]}")
        return row is not None and row[0] == "SUCCESS"

    def _enqueue(self, name: str, size: int) -> str:
        options = {"queue_name": "bench", "workflow_name": name, "app_version": VERSION}
        return str(self._client.enqueue(options, size).get_workflow_id())


if __name__ == "__main__":
    main(Client, work)
