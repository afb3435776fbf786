"""Connections: stale ones replaced, forks apart, failures named."""

from __future__ import annotations

import os

import pytest

from app.db.engine import Database
from app.domain.errors import Unavailable
from tests.support.servers import DatabaseUrls
from tests.support.spine import Spine

BACKEND = "SELECT pg_backend_pid()"


def test_stale_connection_is_replaced_before_a_statement_is_sent(database_urls: DatabaseUrls) -> None:
    app, admin = Database(database_urls.app), Database(database_urls.admin)
    ((backend,),) = app.call(BACKEND)
    for use in ("call", "transaction"):
        admin.call("SELECT pg_terminate_backend(%s, 5000)", (backend,))
        if use == "call":
            ((replaced,),) = app.call(BACKEND)
        else:
            with app.anonymous() as connection:
                replaced = connection.exec_driver_sql(BACKEND).scalar_one()
        assert replaced != backend
        backend = replaced


def test_server_that_hangs_up_within_a_statement_is_unavailable(database_urls: DatabaseUrls) -> None:
    with pytest.raises(Unavailable):
        Database(database_urls.admin).call("SELECT pg_terminate_backend(pg_backend_pid())")


def test_server_that_is_not_there_is_unavailable() -> None:
    away = Database("postgresql://quantum_app:x@127.0.0.1:9/quantum")
    with pytest.raises(Unavailable) as refused:
        away.call("SELECT 1")
    assert refused.value.part == "database"
    with pytest.raises(Unavailable), away.anonymous():
        pass


def test_statement_of_a_call_is_its_own_transaction(spine: Spine) -> None:
    spine.app.call("SELECT set_config('app.tenant_id', %s, true)", (str(spine.tenant),))
    assert spine.app.call("SELECT current_setting('app.tenant_id', true)")[0][0] in (None, "")


def test_transaction_is_rolled_back_by_what_is_raised(spine: Spine) -> None:
    with pytest.raises(KeyError), spine.app.tenant(spine.tenant) as connection:
        connection.exec_driver_sql(
            "INSERT INTO plans (tenant_id, hash, document) VALUES (%s, 'gone', '{}')", (spine.tenant,)
        )
        raise KeyError
    assert spine.admin.call("SELECT 1 FROM plans WHERE hash = 'gone'") == []


def test_forked_child_makes_its_own_connections(database_urls: DatabaseUrls) -> None:
    app = Database(database_urls.app)
    ((mine,),) = app.call(BACKEND)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, str(app.call(BACKEND)[0][0]).encode())
        finally:
            os._exit(0)  # the child must not run the test session's ends
    os.waitpid(child, 0)
    theirs = int(os.read(reading, 100))
    os.close(reading)
    os.close(writing)
    assert theirs != mine
    assert app.call(BACKEND) == [(mine,)], "the parent's connection is as it was"


def test_a_reader_sees_its_tenant_and_leaves_nothing_behind(spine: Spine) -> None:
    run, other = spine.start({"a": []}), spine.new_tenant()
    query = "SELECT id FROM runs WHERE id = :run AND '50%' LIKE '50%' AND 'a:b'::text <> ''"
    for tenant, found in ((spine.tenant, 1), (other, 0)):
        with spine.app.reading(tenant) as reader:
            assert len(reader.rows(query, {"run": run})) == found
    assert spine.app.call("SELECT current_setting('app.tenant_id', true)")[0][0] in (None, "")


def test_a_reader_on_a_stale_connection_goes_on(spine: Spine) -> None:
    ((backend,),) = spine.app.call(BACKEND)
    spine.admin.call("SELECT pg_terminate_backend(%s, 5000)", (backend,))
    with spine.app.reading(spine.tenant) as reader:
        assert reader.rows("SELECT 1 AS one", {}) == [{"one": 1}]
