"""Interactive documentation, served whole from this package: no network needed."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from flask import Blueprint, Response
from werkzeug.exceptions import NotFound

from app.api.etags import shown_to_all
from app.api.routes import PREFIX

blueprint = Blueprint("docs", __name__)

_KINDS: Final = {
    "index.html": "text/html; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
}
# The page runs its own script only, which talks to its own origin only.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none';"
    " base-uri 'none'; form-action 'none'"
)


@blueprint.get(f"{PREFIX}/docs")
def page() -> Response:
    """Answer the viewer of the OpenAPI document."""
    return _file("index.html")


@blueprint.get(f"{PREFIX}/docs/<name>")
def asset(name: str) -> Response:
    """Answer a file of the viewer."""
    return _file(name)


def _file(name: str) -> Response:
    if name not in _KINDS:
        raise NotFound
    content = files("app.api").joinpath("static", name).read_bytes()
    answer = shown_to_all(content, _KINDS[name])
    answer.headers["Content-Security-Policy"] = _POLICY
    return answer
