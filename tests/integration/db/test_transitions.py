"""The database enforces the tables of states, pair by pair."""

from __future__ import annotations

from uuid import UUID

import psycopg2
import pytest

from app.domain.errors import IllegalState
from app.domain.states import MACHINES, allowed
from tests.support.spine import Spine

LEASED = {"run_steps": ", lease_boot = '00000000-0000-0000-0000-000000000001'"}


@pytest.mark.parametrize("relation", MACHINES)
def test_every_pair_of_states(spine: Spine, relation: str) -> None:
    transitions, initial = MACHINES[relation]
    run = spine.start({"a": []})
    column = "phase" if relation == "intents" else "state"
    row: dict[str, str | UUID] = {
        "runs": f"id = '{run}'",
        "run_steps": f"run_id = '{run}'",
        "intents": f"id = (SELECT intent_id FROM runs WHERE id = '{run}')",
        "bulk_actions": f"id = '{run}'",
    }
    if relation == "bulk_actions":
        spine.admin.call(
            "INSERT INTO bulk_actions (tenant_id, id, action, filter, rate, created_by)"
            " VALUES (%s, %s, 'retry', '{}', 1, '{}')",
            (spine.tenant, run),
        )
    update = f"UPDATE {relation} SET {column} = %s{LEASED.get(relation, '')} WHERE {row[relation]}"
    with spine.session(spine.urls.admin) as session, session.cursor() as cursor:
        for old in transitions:
            for new in transitions:
                cursor.execute("SAVEPOINT pair")
                cursor.execute(
                    "SET LOCAL session_replication_role = replica"
                )  # only to arrange the old state
                cursor.execute(update, (old,))
                cursor.execute("SET LOCAL session_replication_role = origin")
                try:
                    cursor.execute(update, (new,))
                    accepted = True
                except psycopg2.Error as error:
                    assert error.pgcode == "QP001", error
                    accepted = False
                cursor.execute("ROLLBACK TO SAVEPOINT pair")
                assert accepted == allowed(transitions, old, new), f"{relation}: {old} -> {new}"
        cursor.execute(
            "SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c"
            " JOIN pg_attribute a ON a.atttypid = c.contypid"
            " WHERE a.attrelid = %s::regclass AND a.attname = %s AND c.contype = 'c'",
            (relation, column),
        )
        (text,) = cursor.fetchone()
        assert {state for state in transitions if f"'{state}'" in text} == set(transitions)
        assert set(initial) <= set(transitions)


def test_store_tells_an_illegal_transition(spine: Spine) -> None:
    run = spine.start({"a": []})
    spine.perform(run, "a")
    with (
        pytest.raises(IllegalState, match="succeeded -> running"),
        spine.app.tenant(spine.tenant) as connection,
    ):
        connection.exec_driver_sql("UPDATE runs SET state = 'running' WHERE id = %s", (run,))
