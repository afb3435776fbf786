"""Levels of loggers: applied, restored, ended on time, shared with a pool."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from app.domain.errors import Unavailable
from app.observability.levels import apply_levels
from app.observability.logging import configure_logging
from app.services.follow_levels import FRESH_S, LevelFollower
from app.services.pulse import Pulse
from app.services.shared_levels import SharedLevels

NAME = "app.some.module"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level
    yield
    apply_levels({})
    root.setLevel(before)


class Rows:
    """A database that answers with rows, or is away."""

    def __init__(self, *rows: tuple[str, str, float | None]) -> None:
        self.rows: list[tuple[str, str, float | None]] | None = list(rows)
        self.asked = 0

    def call(self, _statement: str) -> list[tuple[str, str, float | None]]:
        self.asked += 1
        if self.rows is None:
            raise Unavailable("database")
        return self.rows


def level(name: str = NAME) -> int:
    return logging.getLogger(name).level


def follower(rows: Any, now: list[float], **more: Any) -> LevelFollower:
    return LevelFollower(rows, lambda: now[0], **more)


def test_what_is_no_longer_set_is_as_the_process_was_started() -> None:
    logging.getLogger("app.other").setLevel("ERROR")
    assert apply_levels({NAME: "DEBUG", "app.other": "INFO"})
    assert (level(), level("app.other")) == (logging.DEBUG, logging.INFO)
    assert logging.getLogger(f"{NAME}.below").isEnabledFor(logging.DEBUG)
    assert not apply_levels({NAME: "DEBUG", "app.other": "INFO"}), "nothing changed"
    assert apply_levels({NAME: "ERROR"})
    assert (level(), level("app.other")) == (logging.ERROR, logging.ERROR)
    apply_levels({})
    assert level() == logging.NOTSET


def test_the_root_is_called_root() -> None:
    logging.getLogger().setLevel("WARNING")
    apply_levels({"root": "DEBUG"})
    assert logging.getLogger().level == logging.DEBUG
    apply_levels({})
    assert logging.getLogger().level == logging.WARNING


def test_a_process_that_is_set_up_anew_forgets_what_was_set(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    handlers, before = root.handlers, root.level
    apply_levels({NAME: "DEBUG", "root": "DEBUG"})
    configure_logging("ERROR", "json", process="test")
    assert (level(), root.level) == (logging.NOTSET, logging.ERROR)
    root.handlers, root.level = handlers, before


def test_rows_are_read_once_in_a_while_and_obeyed() -> None:
    now, rows = [0.0], Rows((NAME, "DEBUG", None))
    one = follower(rows, now)
    one.look()
    assert level() == logging.DEBUG
    rows.rows = []
    now[0] = FRESH_S / 2
    one.look()
    assert (rows.asked, level()) == (1, logging.DEBUG)
    now[0] = FRESH_S
    one.look()
    assert (rows.asked, level()) == (2, logging.NOTSET)


def test_a_level_ends_on_time_while_the_database_is_away_and_another_stays() -> None:
    now, rows = [0.0], Rows((NAME, "DEBUG", 10.0), ("app.lasting", "DEBUG", None))
    one = follower(rows, now)
    one.look()
    rows.rows = None
    now[0] = 9.0
    one.look()
    assert level() == logging.DEBUG
    now[0] = 13.0
    one.look()
    assert (level(), level("app.lasting")) == (logging.NOTSET, logging.DEBUG)


def test_a_pool_process_follows_what_its_parent_shares() -> None:
    shared, now, rows = SharedLevels(), [0.0], Rows((NAME, "DEBUG", None))
    follower(rows, now, share=shared.write).look()
    apply_levels({})
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:  # the pool process
        shared.follow()
        os.write(write, f"{level()}".encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(read, 10) == b"10"
    os.close(read)
    os.close(write)


def test_what_is_half_written_is_not_obeyed() -> None:
    shared = SharedLevels()
    shared.write({NAME: "DEBUG"})
    shared._memory[9:10] = b"#"
    shared.follow()
    assert level() == logging.NOTSET
    shared.write({NAME: "ERROR"})
    shared.follow()
    assert level() == logging.ERROR


def test_as_many_levels_as_there_may_be_have_room() -> None:
    shared = SharedLevels()
    most = {f"m{'x' * 95}{number:03}": "CRITICAL" for number in range(50)}
    shared.write(most)
    shared.follow()
    assert {level(name) for name in most} == {logging.CRITICAL}


def test_a_care_that_fails_does_not_keep_the_others() -> None:
    done: list[str] = []

    def fails() -> None:
        raise RuntimeError("no /proc here")

    Pulse((fails, lambda: done.append("care")), (fails, lambda: done.append("figure"))).beat()
    assert done == ["care", "figure"]
