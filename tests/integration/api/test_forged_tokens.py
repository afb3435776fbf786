"""Who sees an access token cannot make a refresh token of it."""

from __future__ import annotations

from uuid import UUID

import jwt

from tests.support.http_api import Caller, Platform


def test_an_access_token_is_no_way_to_end_its_session(platform: Platform, tenant: tuple[str, Caller]) -> None:
    victim = platform.sign_in(tenant[0], "admin@example.org")
    claims = jwt.decode(victim.token or "", options={"verify_signature": False})
    forged = f"qpr1.{UUID(claims['tid']).hex}.{UUID(claims['sid']).hex}.{'x' * 43}"
    anybody = platform.anonymous()
    assert anybody.post("/auth/revoke", {"refresh_token": forged}).status_code == 204
    assert anybody.post("/auth/refresh", {"refresh_token": forged}).status_code == 401
    assert victim.get("/me").status_code == 200
    renewed = anybody.post("/auth/refresh", {"refresh_token": victim.refresh_token})
    assert renewed.status_code == 200, "its session goes on"
