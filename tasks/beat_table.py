"""What beat does, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.bootstrap import BeatParts
from app.services.collect_artifacts import collect_artifacts
from app.services.dispatch import dispatch
from app.services.fire_schedules import fire_schedules
from app.services.fire_triggers import fire_triggers
from app.services.recover import LostMessages, recover


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs every `every_s` seconds in one beat at a time."""

    name: str
    every_s: float
    run: Callable[[], object]


def beat_table(parts: BeatParts) -> tuple[Job, ...]:
    """Return the jobs of this beat; the first ones matter most."""
    store = parts.dispatch.engine.artifacts.store
    lost = LostMessages(parts.dispatch, parts.broker)
    return (
        Job("recover", 1.0, partial(recover, parts.dispatch)),
        Job("dispatch", 1.0, partial(dispatch, parts.dispatch)),
        Job("schedules", 1.0, partial(fire_schedules, parts.submit, parts.dispatch.system)),
        Job("triggers", 1.0, partial(fire_triggers, parts.submit, parts.dispatch.system, parts.flags)),
        Job("lost_messages", 2.0, lost.look),
        Job("collect_artifacts", 60.0, partial(collect_artifacts, parts.dispatch.system, store)),
        *(Job(name, every_s, run) for name, every_s, run in parts.chores),
    )
