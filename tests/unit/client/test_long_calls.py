"""Commands that last: beyond their token, beyond an API that is away for a while, beside each other."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.client import board, watching
from app.client.http import ApiClient, ApiProblem, ApiUnreachable
from app.client.tokens import Token, load_token, renewing, save_token
from app.client.watching import patiently, watch
from app.commands.exits import Exit
from app.commands.runs import runs
from app.commands.tenants import tenant
from app.commands.workers import drain, workers
from tests.unit.client.test_client import serving

OLD = {"url": "", "tenant": "acme", "email": "a@acme.example", "access_token": "old", "refresh_token": "one"}
FRESH = {"access_token": "new", "refresh_token": "two", "token_type": "Bearer", "expires_in": 900}
EXPIRED: tuple[int, object] = (401, {"title": "expired"})
AWAY: tuple[int, object] = (503, {"title": "the database is away"})
RUNNING: tuple[int, object] = (200, {"id": "r", "state": "running", "steps": []})
ENDED: tuple[int, object] = (200, {"id": "r", "state": "succeeded", "steps": []})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no wait take long."""
    monkeypatch.setattr(watching, "FIRST_POLL_S", 0.001)
    monkeypatch.setattr(watching, "SLOWEST_POLL_S", 0.001)


@contextmanager
def signed_in(folder: Path, *answers: tuple[int, object]) -> Iterator[tuple[list[Any], Path]]:
    """Yield what the API was asked, the file of a token that it does not take any more."""
    with serving(list(answers)) as (url, asked):
        save_token(folder / "token.json", Token(**{**OLD, "url": url}))
        yield asked, folder / "token.json"


def test_a_wait_outlives_its_token(tmp_path: Path) -> None:
    with signed_in(tmp_path, RUNNING, EXPIRED, (200, FRESH), ENDED) as (asked, file):
        result = CliRunner().invoke(runs, ["watch", "r", "--token-file", str(file)])
    assert result.exit_code == Exit.OK, result.output
    assert [path.removeprefix("/api/v1") for path, _ in asked] == [
        "/runs/r",
        "/runs/r",
        "/auth/refresh",
        "/runs/r",
    ]
    kept = load_token(file)
    assert kept is not None
    assert (asked[-1][1]["Authorization"], kept.refresh_token) == ("Bearer new", "two")


def test_of_two_commands_one_renews_their_token(tmp_path: Path) -> None:
    """The refresh token counts once: the second to send it would end the session for both."""
    with signed_in(tmp_path, EXPIRED, (200, {"items": [], "next_cursor": None})) as (asked, file):
        done: list[Any] = []
        arguments = ["list", "--json", "--token-file", str(file)]
        with renewing(file):
            second = threading.Thread(target=lambda: done.append(CliRunner().invoke(runs, arguments)))
            second.start()
            while not asked:  # until it has been refused
                second.join(0.005)
            kept = load_token(file)
            assert kept is not None
            save_token(file, Token(kept.url, kept.tenant, kept.email, "new", "two"))
        second.join()
    assert done[0].exit_code == Exit.OK, done[0].output
    assert [path.partition("?")[0] for path, _ in asked] == ["/api/v1/runs"] * 2
    assert asked[-1][1]["Authorization"] == "Bearer new"


@pytest.mark.parametrize("url", [None, "http://another.example"])
def test_who_signed_out_meanwhile_is_told_so(tmp_path: Path, url: str | None) -> None:
    """Another server's token stays with that server."""
    with signed_in(tmp_path, RUNNING, EXPIRED) as (asked, file):

        def left(*_given: object) -> None:
            file.unlink()
            if url is not None:
                save_token(file, Token(**{**OLD, "url": url, "access_token": "theirs"}))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(watching.time, "sleep", left)
            result = CliRunner().invoke(runs, ["watch", "r", "--token-file", str(file)])
    assert (result.exit_code, "run `quantum login`" in result.output) == (Exit.AUTH, True)
    assert len(asked) == 2


def test_a_token_that_is_never_good_is_not_renewed_for_ever(tmp_path: Path) -> None:
    with signed_in(tmp_path, EXPIRED, (200, FRESH), EXPIRED, (200, FRESH), EXPIRED) as (asked, file):
        result = CliRunner().invoke(runs, ["show", "r", "--token-file", str(file)])
    assert (result.exit_code, len(asked)) == (Exit.AUTH, 5)


def test_who_watches_waits_for_an_api_that_is_away() -> None:
    with serving([RUNNING, (0, None), AWAY, ENDED]) as (url, _):
        assert [sight.run["state"] for sight in watch(ApiClient(url), "r")] == ["running", "succeeded"]


@pytest.mark.parametrize("first", [AWAY, (0, None), (404, {"title": "No such run"})])
def test_nobody_waits_for_a_first_answer(first: tuple[int, object]) -> None:
    with serving([first]) as (url, _), pytest.raises((ApiProblem, ApiUnreachable)):
        next(watch(ApiClient(url), "r"))


def test_patience_has_an_end_and_none_with_what_is_no_absence() -> None:
    now = iter(range(100))
    tries: list[int] = []

    def ask() -> None:
        tries.append(1)
        raise ApiUnreachable("no answer")

    with pytest.raises(ApiUnreachable):
        patiently(ask, 5.0, lambda: float(next(now)), lambda _: None)
    assert len(tries) == 6

    def refused() -> None:
        tries.append(1)
        raise ApiProblem(409, {})

    with pytest.raises(ApiProblem):
        patiently(refused, 5.0, lambda: 0.0, lambda _: None)
    assert len(tries) == 7


def test_top_shows_the_last_look_while_there_is_no_newer_one() -> None:
    answers: list[Any] = [{"n": 1}, ApiUnreachable("no answer"), ApiProblem(503, {"title": "away"}), {"n": 2}]
    answers.append(ApiProblem(403, {"title": "forbidden"}))

    def look() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    sights = board.looks(look, lambda: None)
    assert [next(sights) for _ in range(4)] == [
        ({"n": 1}, ""),
        ({"n": 1}, "no answer"),
        ({"n": 1}, "503 away"),
        ({"n": 2}, ""),
    ]
    with pytest.raises(ApiProblem):
        next(sights)


WORKER = {
    **dict.fromkeys(("protocol", "busy", "processes"), 1),
    "pid": 7,
    "version": "1",
    "queues": ["default"],
    "skewed": False,
    "seen_at": "T",
    "heeds": "active",
    "order": {"state": "active", "reason": ""},
}


@pytest.mark.parametrize("words", [(), ("list",)])
def test_workers_that_are_lost_are_shown_those_that_were_replaced_are_not(words: tuple[str, ...]) -> None:
    found = [
        {**WORKER, "name": "a@h", "state": "live", "lost": False},
        {**WORKER, "name": "b@h", "state": "dead", "lost": True},
        {**WORKER, "name": "c@h", "state": "dead", "lost": False},
    ]
    page = (200, {"items": found, "next_cursor": None})
    with serving([page]) as (url, _):
        shown = CliRunner().invoke(workers, [*words, "--url", url, "--token", "t"]).output
    assert ["lost" in line for line in shown.splitlines()[1:]] == [False, True]
    assert "c@h" not in shown


def test_a_drain_does_not_wait_for_a_worker_that_is_dead() -> None:
    order = (200, {"name": "b@h", "state": "draining"})
    page = (200, {"items": [{**WORKER, "name": "b@h", "state": "dead", "lost": True}], "next_cursor": None})
    with serving([order, order, page], [{"ETag": '"v0"'}, {}, {}]) as (url, _):
        result = CliRunner().invoke(drain, ["worker", "b@h", "--wait", "--url", url, "--token", "t"])
    assert (result.exit_code, result.output) == (Exit.OK, "b@h does not live: it runs nothing.\n")


@pytest.mark.parametrize(
    ("named", "answers", "asked_for", "code"),
    [
        ("11111111-1111-7111-8111-111111111111", [], "11111111-1111-7111-8111-111111111111", Exit.OK),
        ("acme", [(200, {"tenant": "acme", "tenant_id": "mine"})], "mine", Exit.OK),
        (
            "other",
            [
                (200, {"tenant": "acme", "tenant_id": "mine"}),
                (200, {"items": [{"slug": "other", "id": "theirs"}], "next_cursor": None}),
            ],
            "theirs",
            Exit.OK,
        ),
        (
            "nobody",
            [(200, {"tenant": "acme", "tenant_id": "mine"}), (200, {"items": [], "next_cursor": None})],
            None,
            Exit.NOT_FOUND,
        ),
    ],
)
def test_a_tenant_is_named_by_its_slug_or_its_id(
    named: str, answers: list[tuple[int, object]], asked_for: str | None, code: Exit
) -> None:
    limits = (200, {"weight": 1, "max_running_runs": None, "max_running_steps": None, "caps": {}})
    with serving([*answers, limits]) as (url, asked):
        result = CliRunner().invoke(tenant, ["limits", named, "--url", url, "--token", "t"])
    assert result.exit_code == code, result.output
    if asked_for is not None:
        assert asked[-1][0] == f"/api/v1/tenants/{asked_for}/limits"
