"""Flower's sign-in: a platform administrator's account in place of a password of its own."""

from __future__ import annotations

import asyncio
from html import escape
from typing import Final
from uuid import uuid4

from flower.views import BaseHandler
from flower.views.auth import get_next_url

from app.bootstrap.stores import build_database
from app.domain.errors import RateLimited, Unauthenticated, Unavailable
from app.domain.identity import PLATFORM_ROLES, PLATFORM_SLUG
from app.services.sign_in import Origin, sign_in
from app.settings import inherited_environment, load_settings

VISITOR: Final = "platform-administrator"
"""What the signed cookie holds, what Flower's `auth` asks for."""
_SESSION_DAYS: Final = 0.5
_FORM: Final = """<!doctype html><meta charset="utf-8"><title>Quantum Platform: Flower</title>
<style>body {{ font: 16px sans-serif; max-width: 22em; margin: 4em auto }}
input {{ width: 100%; margin: .3em 0 1em }}</style>
<h1>Flower</h1><p>Sign in as an administrator of the platform.</p><p role="alert">{words}</p>
<form method="post">{token}<input type="hidden" name="next" value="{next}">
<label>Email <input name="email" type="email" required autofocus></label>
<label>Password <input name="password" type="password" required></label><button>Sign in</button></form>
"""

_database = build_database(load_settings(inherited_environment()))


class SignInHandler(BaseHandler):
    """Serves `/login`: Flower shows tasks of every tenant, so only platform administrators may see it."""

    def get(self) -> None:
        """Show the form."""
        self._show(200, "")

    async def post(self) -> None:
        """Check the account; set the cookie, or show the form again with 401, 403, 429 or 503."""
        email = self.get_argument("email", "", escape=False)
        password = self.get_argument("password", "", strip=False, escape=False)
        origin = Origin(str(uuid4()), self.request.remote_ip)
        try:
            found = await asyncio.to_thread(sign_in, _database, PLATFORM_SLUG, email, password, origin)
        except Unauthenticated:
            self._show(401, "Email or password is wrong.")
        except RateLimited as limited:
            self.set_header("Retry-After", str(limited.retry_after_s))
            self._show(429, "Too many failures: wait a minute.")
        except Unavailable:
            self._show(503, "The database does not answer.")
        else:
            if not found.roles & PLATFORM_ROLES:
                self._show(403, "This account does not administer the platform.")
                return
            self.set_secure_cookie("user", VISITOR, expires_days=_SESSION_DAYS)
            self.redirect(get_next_url(self))

    def _show(self, status: int, words: str) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'",
        )
        form = self.xsrf_form_html()
        self.finish(_FORM.format(words=escape(words), token=form, next=escape(get_next_url(self))))
