"""Flask as this API needs it: no sessions, no coroutines, no headers to correct in a usual answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from flask import Flask, Request, Response
from flask.sessions import NullSession, SessionInterface
from werkzeug.datastructures import Headers

_AS_IT_STANDS: Final = re.compile(r"[A-Za-z0-9/:@._~-]*")
_USUAL: Final = range(200, 204)
_NO_SESSION: Final = NullSession()


class Answer(Response):
    """An answer of the API."""

    def get_wsgi_headers(self, environ: dict[str, Any]) -> Headers:
        """Return the headers to send: as they are when the length is known and nothing needs quoting."""
        if self.status_code not in _USUAL:
            return super().get_wsgi_headers(environ)
        measured = False
        for name, value in self.headers:
            if name == "Content-Length":
                measured = True
            elif name.endswith("ocation") and _AS_IT_STANDS.fullmatch(value) is None:
                return super().get_wsgi_headers(environ)
        return self.headers if measured else super().get_wsgi_headers(environ)


class NoSessions(SessionInterface):
    """No session, hence no cookie: each request shows its token."""

    def open_session(self, app: Flask, request: Request) -> NullSession:  # noqa: ARG002 - Flask's signature
        """Return the one session, which can be neither read nor written."""
        return _NO_SESSION


class Application(Flask):
    """The application whose every view and hook is a plain function."""

    response_class = Answer
    session_interface = NoSessions()

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function: to look seven times a request whether it is a coroutine has a price."""
        return func
