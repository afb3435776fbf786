"""What beat does, how often."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from app.bootstrap.beat import BeatParts
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


def beat_table(parts: BeatParts) -> dict[str, tuple[Job, ...]]:
    """Return the jobs of this beat by lane; within a lane the first ones matter most.

    Recovery waits for nothing that may take long: a burst of schedules, a look into the broker, a prune.
    """
    dispatching, system = parts.dispatch, parts.dispatch.system
    store = dispatching.engine.artifacts.store
    lost = LostMessages(dispatching, parts.broker)
    return {
        "recovery": (
            Job("recover", 1.0, partial(recover, dispatching)),
            Job("dispatch", 1.0, partial(dispatch, dispatching)),
        ),
        "broker": (Job("lost_messages", 2.0, lost.look),),
        "firing": (
            Job("schedules", 1.0, partial(fire_schedules, parts.submit, system)),
            Job("triggers", 1.0, partial(fire_triggers, parts.submit, system, parts.flags)),
        ),
        "chores": (
            Job("collect_artifacts", 60.0, partial(collect_artifacts, system, store)),
            *(Job(name, every_s, run) for name, every_s, run in parts.chores),
        ),
    }
