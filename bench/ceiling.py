"""The ceiling of intake: a Flask application of one route that commits one JSON row, on our server."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

import psycopg2
from flask import Flask, request

from app.settings import inherited_environment

URL_VARIABLE = "BENCH_CEILING_URL"
"""Names the database; the runner sets it for the server."""
TABLE = "CREATE TABLE bench_ceiling (id uuid PRIMARY KEY, document jsonb NOT NULL, at timestamptz)"

app = Flask("bench_ceiling")
_mine = threading.local()


@app.post("/insert")
def insert() -> tuple[dict[str, Any], int]:
    """Keep the body in a row of its own; answer after the commit."""
    identifier = str(uuid.uuid4())
    with _session().cursor() as cursor:
        cursor.execute(
            "INSERT INTO bench_ceiling (id, document) VALUES (%s, %s) RETURNING id",
            (identifier, json.dumps(request.get_json())),
        )
        cursor.fetchone()
    return {"id": identifier}, 202


def _session() -> psycopg2.extensions.connection:
    if not hasattr(_mine, "session"):
        _mine.session = psycopg2.connect(inherited_environment()[URL_VARIABLE])
        _mine.session.autocommit = True
    session: psycopg2.extensions.connection = _mine.session
    return session
