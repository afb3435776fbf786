"""Flower's configuration: what a task shows leads back to its step, nobody repairs behind the API's back."""

from __future__ import annotations

import runpy
from types import SimpleNamespace

import pytest

from app.settings.state import checkout


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch, tmp_path) -> dict[str, object]:
    for name, user in (("DATABASE_URL", "a"), ("DATABASE_OWNER_URL", "o"), ("DATABASE_SYSTEM_URL", "s")):
        monkeypatch.setenv(name, f"postgresql://{user}@localhost/quantum")
    monkeypatch.setenv("REDIS_URL", "redis://localhost")
    monkeypatch.setenv("QUANTUM_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("API_PORT", "8123")
    monkeypatch.setenv("FLOWER_BASIC_AUTH", "ops:secret")
    return runpy.run_path(str(checkout() / "app" / "flowerconfig.py"))


def test_a_step_task_shows_the_address_of_its_step(configuration: dict[str, object]) -> None:
    task = SimpleNamespace(name="data.digest", uuid="run-1:digest.3:2", args="")
    shown = configuration["format_task"](task)  # type: ignore[operator]  # read from a file, so untyped
    assert shown.args == "http://127.0.0.1:8123/api/v1/runs/run-1/steps/digest.3 (dispatch epoch 2)"


def test_another_task_stays_as_it_is(configuration: dict[str, object]) -> None:
    task = SimpleNamespace(name="other.task", uuid="1", args="(1,)")
    assert configuration["format_task"](task).args == "(1,)"  # type: ignore[operator]  # as above


def test_flower_only_looks_keeps_its_state_asks_for_a_password(configuration: dict[str, object]) -> None:
    assert configuration["read_only"] is True
    assert configuration["persistent"] is True
    assert configuration["basic_auth"] == ["ops:secret"]
