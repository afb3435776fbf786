"""What the CLI shows of caps, which of them it sends."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from app.commands.tenants import tenant, with_caps
from tests.unit.client.test_client import serving

LIMITS = {
    "weight": 1,
    "max_running_runs": None,
    "max_running_steps": None,
    "version": 0,
    "updated_at": None,
    "caps": {"secrets": {"most": 7, "usual": 1000, "in_use": 3}},
}


def test_what_is_not_named_stays_what_is_usual_is_not_sent() -> None:
    own = {"secrets": 7, "users": 9}
    assert with_caps(own, ("secrets=8", "users=usual", "webhooks=60")) == {"secrets": 8, "webhooks": 60}
    assert with_caps(own, ()) == own
    for wrong in ("secrets", "secrets=", "secrets=-1", "secrets=many"):
        with pytest.raises(click.UsageError):
            with_caps(own, (wrong,))


def test_caps_are_shown_with_what_is_kept() -> None:
    with serving([(200, LIMITS)]) as (url, _):
        shown = CliRunner().invoke(
            tenant, ["limits", "11111111-1111-7111-8111-111111111111", "--url", url, "--token", "t"]
        )
    assert shown.exit_code == 0, shown.output
    assert "secrets  7     1000   3" in shown.output
