"""Plain chains of steps on their way to the broker, without Celery's canvas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from celery import Celery

Link = Mapping[str, Any]

OWN = {"task_id", "queue", "shadow"}
"""The options that a plain step has; whatever has others is for Celery's canvas."""


def links_of(canvas: Link) -> Sequence[Link] | None:
    """Return the steps of a canvas that is one step or a plain chain of steps, else None."""
    kind = canvas["subtask_type"]
    if kind is None:
        links: Sequence[Link] = [canvas]
    elif kind == "chain" and not canvas["options"]:
        links = canvas["kwargs"]["tasks"]
    else:
        return None
    return links if all(_is_plain(link) for link in links) else None


def lean(app: Celery, canvas: Any) -> Any:
    """Return what sends the canvas at the least cost: itself, where Celery has more to do than to send it."""
    links = links_of(canvas)
    return canvas if links is None else PlainChain(app, links)


def _is_plain(link: Link) -> bool:
    return link["subtask_type"] is None and link["options"].keys() == OWN


@dataclass(frozen=True, slots=True)
class PlainChain:
    """A chain of steps, sent as the message that Celery's canvas would send, without an address for results.

    The canvas copies each signature several times and makes a result of each, which here nobody reads.
    """

    app: Celery
    links: Sequence[Link]

    def apply_async(self, producer: Any) -> None:
        """Send it; raises what the broker's client raises."""
        first, *rest = self.links
        options, task = first["options"], self.app.current_worker_task
        origin = None if task is None else task.request
        amqp = self.app.amqp
        message = amqp.create_task_message(
            options["task_id"],
            first["task"],
            first["args"],
            first["kwargs"],
            shadow=options["shadow"],
            chain=[dict(link) for link in reversed(rest)] or None,
            root_id=None if origin is None else origin.root_id or origin.id,
            parent_id=None if origin is None else origin.id,
            ignore_result=True,  # as the task of steps says, which is known to workers and beat only
        )
        amqp.send_task_message(producer, first["task"], message, queue=amqp.queues[options["queue"]])
