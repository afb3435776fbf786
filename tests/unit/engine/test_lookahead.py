"""What was read ahead is used for exactly the positions that it was read for."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from app.domain.errors import Unavailable
from app.domain.relay import Shard
from app.services.lookahead import Lookahead

AT_7 = (Shard(0, 7, "m:r"), Shard(1, 9, "m:r"))


def test_it_is_read_in_another_thread_for_the_shards_as_they_will_stand() -> None:
    threads: list[int] = []

    def read(shards: tuple[Shard, ...]) -> Any:
        threads.append(threading.get_ident())
        return ("events behind", shards)

    ahead = Lookahead(read)
    assert not ahead.begun
    ahead.begin(AT_7)
    assert ahead.begun
    assert ahead.take(AT_7) == ("events behind", AT_7)
    assert threads != [threading.get_ident()]
    assert not ahead.begun
    assert ahead.take(AT_7) == ()
    ahead.close()


def test_other_positions_epochs_or_shards_get_nothing_of_it() -> None:
    ahead = Lookahead(lambda _: ("stale",))  # type: ignore[arg-type, return-value]  # events are not looked at
    for others in (
        AT_7[:1],
        (replace(AT_7[0], position=6), AT_7[1]),
        (replace(AT_7[0], epoch="m:other"), AT_7[1]),
    ):
        ahead.begin(AT_7)
        assert ahead.take(others) == ()
    ahead.close()


def test_a_database_that_was_away_is_asked_again() -> None:
    def read(_: tuple[Shard, ...]) -> Any:
        raise Unavailable("database")

    ahead = Lookahead(read)
    ahead.begin(AT_7)
    assert ahead.take(AT_7) == ()
    ahead.close()
