"""The Redis result backend reduced to what chords need: counting header tasks."""

from __future__ import annotations

from typing import Any

from celery import states
from celery.backends.redis import RedisBackend


class ChordCounter(RedisBackend):
    """Counts chord headers; nobody waits on results, so no producer ever subscribes to a channel."""

    def on_task_call(self, *_call: Any) -> dict[str, Any]:
        """Do not subscribe: completion is read from PostgreSQL."""
        return {}

    def add_pending_result(self, result: Any, **_how: Any) -> Any:
        """Do not start the thread that drains results."""
        return result

    def on_chord_part_return(self, request: Any, state: str, result: Any, **kwargs: Any) -> None:
        """Count a header task that succeeded; a failed one never counts, so the body cannot come early.

        The finishing transaction of the last header releases the body's step when the chord does not.
        """
        if state == states.SUCCESS:
            super().on_chord_part_return(request, state, result, **kwargs)
