"""What the application leaves out of Flask is nothing that a client could see."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Response, session
from werkzeug.test import create_environ

from app.api.serving import Answer, Application

ENVIRON = create_environ("/api", "http://quantum.example")


@pytest.mark.parametrize(
    ("body", "status", "headers"),
    [
        ("{}", 202, {"Location": "/api/v1/intents/0191", "X-Request-ID": "r"}),
        ("{}", 201, {"Location": "/api/v1/users/ü ß"}),
        ("{}", 200, {"Content-Location": "/a b"}),
        (["a", "b"], 200, {}),
        ("", 204, {}),
        ("{}", 304, {"Content-Type": "text/plain", "ETag": '"v1"'}),
        ("", 302, {"Location": "/ä"}),
        ("{}", 404, {"Retry-After": "1"}),
    ],
)
def test_an_answer_is_sent_with_the_headers_of_a_response(body: Any, status: int, headers: Any) -> None:
    sent, wanted = (
        sorted(kind(body, status, headers).get_wsgi_headers(ENVIRON)) for kind in (Answer, Response)
    )
    assert sent == wanted


def test_nobody_gets_a_session_or_a_cookie() -> None:
    app = Application("quiet", static_folder=None)
    app.add_url_rule("/reads", "reads", lambda: str(session.get("a")))
    app.add_url_rule("/writes", "writes", lambda: session.update(a=1) or "")
    client = app.test_client()
    assert client.get("/reads").text == "None"
    assert client.get("/writes").status_code == 500
    assert "Set-Cookie" not in client.get("/reads").headers
