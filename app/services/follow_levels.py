"""The levels of loggers as one process follows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from app.db.engine import Database
from app.db.log_levels import levels_now
from app.domain.errors import Unavailable
from app.domain.log_levels import LevelNow
from app.observability.levels import apply_levels
from app.observability.logging import get_log

FRESH_S: Final = 2.0

log = get_log(__name__)


class LevelFollower:
    """Brings the loggers of its process to what operators have set; asked again and again.

    A level that ends does so on time also while the database is away; all else lasts until it is back.
    `clock` counts seconds. `share` is told what holds, for those who follow without a connection.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], float],
        share: Callable[[Mapping[str, str]], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._share = share
        self._read_at = float("-inf")
        self._known: tuple[LevelNow, ...] = ()

    def look(self) -> None:
        """Read what is set, at most once in `FRESH_S` seconds, and obey it."""
        now = self._clock()
        if now - self._read_at < FRESH_S:
            return
        try:
            self._known, self._read_at = tuple(levels_now(self._database)), now
        except Unavailable:
            log.debug("log_levels_unknown")
        age_s = now - self._read_at
        holding = {one.module: one.level for one in self._known if one.left_s is None or one.left_s > age_s}
        self._share(holding)
        if apply_levels(holding):
            log.warning("log_levels_changed", levels=holding)
