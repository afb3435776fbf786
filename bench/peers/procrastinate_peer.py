"""Procrastinate: jobs in PostgreSQL, two processes of eight coroutines; its join is a row of ours."""

from __future__ import annotations

import uuid

import psycopg
from harness import POSTGRES_URL, main
from procrastinate import App, PsycopgConnector

SCHEMA = "bench_procrastinate"
URL = f"{POSTGRES_URL}?options=-csearch_path%3D{SCHEMA}"
app = App(connector=PsycopgConnector(conninfo=URL))


@app.task(name="link", queue="bench")
async def link(run: str, left: int) -> None:
    if left > 1:
        await link.defer_async(run=run, left=left - 1)
    else:
        await _done(run)


@app.task(name="first", queue="bench")
async def first(run: str, width: int) -> None:
    query = "INSERT INTO bench_joins (run, needs_left) VALUES (%(run)s, %(width)s)"
    await app.connector.execute_query_async(query, run=run, width=width)
    await member.batch_defer_async(*({"run": run} for _ in range(width)))


@app.task(name="member", queue="bench")
async def member(run: str) -> None:
    query = "UPDATE bench_joins SET needs_left = needs_left - 1 WHERE run = %(run)s RETURNING needs_left"
    row = await app.connector.execute_query_one_async(query, run=run)
    if row["needs_left"] == 0:
        await link.defer_async(run=run, left=1)


async def _done(run: str) -> None:
    await app.connector.execute_query_async("INSERT INTO bench_done (run) VALUES (%(run)s)", run=run)


def work() -> None:
    app.run_worker(concurrency=8, install_signal_handlers=True)


class Client:
    def __init__(self) -> None:
        self._rows = psycopg.connect(URL, autocommit=True)
        self._rows.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        self._rows.execute(f"CREATE SCHEMA {SCHEMA}")
        app.open()
        app.schema_manager.apply_schema()
        self._rows.execute("CREATE TABLE bench_joins (run text PRIMARY KEY, needs_left integer NOT NULL)")
        self._rows.execute("CREATE TABLE bench_done (run text PRIMARY KEY)")

    def chain(self, steps: int) -> str:
        run = uuid.uuid4().hex
        link.defer(run=run, left=steps)
        return run

    def fanout(self, width: int) -> str:
        run = uuid.uuid4().hex
        first.defer(run=run, width=width)
        return run

    def ended(self, run: str) -> bool:
        return self._rows.execute("SELECT 1 FROM bench_done WHERE run = %s", (run,)).fetchone() is not None


if __name__ == "__main__":
    main(Client, work)
