"""What others have named, logged or answered is shown by the CLI as text, whatever it looks like."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from app.client.tokens import Token, save_token
from app.commands.exits import Exit
from app.commands.intents import intent
from app.commands.runs import runs
from app.domain.terminal import json_text, visible
from app.observability.logging import configure_logging, get_log
from tests.unit.client.test_client import serving

HOSTILE = "[/x] [bold]y[/bold] :smile: \x1b]0;title\x07\x1b[2J\x9b31m \u202egnp.exe"
SHOWN = "[/x] [bold]y[/bold] :smile: \ufffd]0;title\ufffd\ufffd[2J\ufffd31m \ufffdgnp.exe"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")


def page(**item: object) -> tuple[int, object]:
    return 200, {"items": [item], "next_cursor": None}


def asked(answers: list[tuple[int, object]], command: click.Command, *words: str) -> Result:
    with serving(answers) as (url, _):
        return CliRunner().invoke(command, [*words, "--url", url, "--token", "t"])


def test_names_and_errors_of_others_are_text() -> None:
    listed = asked([page(id="1", name=HOSTILE, type="t")], intent, "list")
    assert listed.exit_code == 0, listed.output
    assert SHOWN in listed.output
    step = {"key": "a", "base": "a", "state": "failed", "error": {"code": "no", "message": HOSTILE}}
    tree = asked([(200, {"id": "1", "state": "failed", "steps": [step]})], runs, "show", "1")
    assert tree.exit_code == 0, tree.output
    assert SHOWN in tree.output


def test_identifiers_are_shown_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    run = "01890000-0000-7000-8000-000000000000"
    item = page(id=run, state="succeeded", workflow={"name": "w" * 60, "version": 1}, created_at="2" * 32)
    for width in ("80", ""):
        monkeypatch.setenv("COLUMNS", width)
        listed = asked([item], runs, "list")
        assert run in listed.output, listed.output
    assert "w" * 60 in listed.output, "a pipe has no width"


def test_log_lines_and_problems_are_text() -> None:
    line = {"at": "now", "attempt": 1, "level": "info", "text": HOSTILE, "fields": {HOSTILE: 1}}
    answers = [
        (200, {"items": [line], "next_cursor": "1", "state": "succeeded"}),
        (200, {"items": [], "next_cursor": "1", "state": "succeeded"}),
    ]
    logged = asked(answers, runs, "logs", "1", "a")
    assert logged.output.count(SHOWN) == 2
    refused = asked(
        [
            (
                422,
                {
                    "title": "no",
                    "status": 422,
                    "detail": HOSTILE,
                    "errors": [{"pointer": "/a", "message": HOSTILE}],
                },
            )
        ],
        runs,
        "show",
        "1",
    )
    assert refused.exit_code == Exit.REFUSED
    assert refused.output.count(SHOWN) == 2


def test_json_keeps_the_value_and_obeys_nothing() -> None:
    told = asked([page(id="1", name=HOSTILE)], intent, "list", "--json")
    assert json.loads(told.stdout)[0]["name"] == HOSTILE
    assert "\x1b" not in told.stdout
    assert "\x9b" not in told.stdout
    assert json_text({"schön": "日本"}) == '{"schön": "日本"}'
    assert visible({"a": ["tab\tline\n", 1, None]}) == {"a": ["tab\tline\n", 1, None]}


def test_a_saved_token_stays_with_the_server_that_gave_it(tmp_path: Path) -> None:
    file = tmp_path / "token.json"
    save_token(file, Token("https://quantum.example", "acme", "ann@acme.example", "access", "refresh"))
    with serving([(200, {})]) as (url, seen):
        done = CliRunner().invoke(intent, ["list", "--url", url, "--token-file", str(file)])
    assert done.exit_code == Exit.AUTH
    assert f"signed in at https://quantum.example, not at {url}" in " ".join(done.output.split())
    assert seen == []


def test_lines_of_a_log_for_people_obey_nothing() -> None:
    stream = io.StringIO()
    before = logging.getLogger().handlers
    try:
        configure_logging("INFO", "console", process="test", stream=stream)
        get_log("x").info("request_answered", path="/\x1b[2Jevil")
    finally:
        logging.getLogger().handlers = before
    assert "\x1b" not in stream.getvalue()
    assert "/\ufffd[2Jevil" in stream.getvalue()
