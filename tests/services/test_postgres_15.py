"""The suites of `make test-services` really run on PostgreSQL 15."""

from __future__ import annotations

import contextlib

import psycopg2
import pytest

from tests.support.servers import DatabaseUrls

pytestmark = pytest.mark.services


def test_the_migrated_database_is_version_15(database_urls: DatabaseUrls) -> None:
    with contextlib.closing(psycopg2.connect(database_urls.app)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version_num')::int / 10000, count(*) FROM runs")
        assert cursor.fetchone() == (15, 0)
