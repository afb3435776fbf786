"""A real Flower opens to platform administrators only; steps link to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from app.runtime.ports import LOOPBACK, free_port
from tests.support.http_api import PASSWORD, ROOT_EMAIL, Caller, Platform, echo
from tests.support.processes import BIN, OsProcess
from tests.support.waiting import eventually

FORM = {"email": ROOT_EMAIL, "password": PASSWORD, "next": "/tasks"}


@pytest.fixture(scope="module")
def flower(
    platform: Platform, environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where Flower listens."""
    url = f"http://{LOOPBACK}:{(port := free_port())}"
    command = [str(BIN / "celery"), "-A", "app.worker", "flower", "--conf=app/flowerconfig.py"]
    log: Path = tmp_path_factory.mktemp("flower") / "flower.log"
    with OsProcess(command, log=log, environ={**environ, "FLOWER_PORT": str(port)}) as process:
        eventually(lambda: listens(url), within=60, what=lambda: process.output)
        yield url


def listens(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthcheck", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def submitted(session: requests.Session, url: str, **changed: str) -> requests.Response:
    """Fill in the form as a browser does."""
    session.get(f"{url}/login", timeout=10)
    token = {"_xsrf": session.cookies.get("_xsrf", "")}
    return session.post(f"{url}/login", {**FORM, **token, **changed}, timeout=20, allow_redirects=False)


def test_nobody_looks_without_signing_in(flower: str) -> None:
    page = requests.get(f"{flower}/tasks", timeout=10, allow_redirects=False)
    assert (page.status_code, page.headers["Location"]) == (302, "/login?next=%2Ftasks")
    assert requests.get(f"{flower}/api/tasks", timeout=10, allow_redirects=False).status_code in (
        302,
        401,
        403,
    )
    form = requests.get(f"{flower}/login", timeout=10)
    assert (form.status_code, "password" in form.text) == (200, True)


def test_a_platform_administrator_signs_in_and_out(flower: str) -> None:
    with requests.Session() as session:
        answer = submitted(session, flower)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/tasks"), answer.text
        assert "HttpOnly" in answer.headers["Set-Cookie"]
        assert session.get(f"{flower}/tasks", timeout=10, allow_redirects=False).status_code == 200
        session.cookies.pop("user")
        assert session.get(f"{flower}/tasks", timeout=10, allow_redirects=False).status_code == 302


def test_other_accounts_and_wrong_passwords_stay_outside(flower: str, platform: Platform) -> None:
    root = platform.root
    made = root.post("/users", {"email": "viewer@example.org", "password": PASSWORD, "roles": ["viewer"]})
    assert made.status_code == 201, made.text
    with requests.Session() as session:
        assert submitted(session, flower, password="wrong").status_code == 401
        assert submitted(session, flower, email="viewer@example.org").status_code == 403
        assert submitted(session, flower, _xsrf="forged").status_code == 403
        assert "user" not in session.cookies


def test_nobody_is_sent_elsewhere_after_signing_in(flower: str) -> None:
    with requests.Session() as session:
        assert submitted(session, flower, next="https://evil.example/").headers["Location"] == "/"
        assert submitted(session, flower, next="//evil.example/").headers["Location"] == "/"


def test_a_step_links_to_its_task(platform: Platform, admin: Caller) -> None:
    run_id = admin.post("/intents", echo()).get_json()["run"]["id"]
    step = admin.get(f"/runs/{run_id}/steps/echo").get_json()
    assert step["task_url"] in (None, f"{platform.parts.flower_url}/task/{run_id}:echo:1")
