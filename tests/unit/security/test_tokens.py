"""Tests of refresh tokens."""

from uuid import UUID

from app.security.tokens import new_refresh_token

TENANT, FAMILY = UUID(int=1), UUID(int=2)


def test_a_session_is_named_without_the_place_of_its_family():
    token = new_refresh_token(TENANT, FAMILY)
    assert token.session_id not in (FAMILY, TENANT), "an access token names it to whoever sees that one"
    assert new_refresh_token(TENANT, FAMILY).session_id == token.session_id, (
        "the next token is of the same session"
    )
