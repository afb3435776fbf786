"""An API process that is killed before it sends: `python -m tests.support.crash FOLDER NAME`."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from app.domain.identity import Actor
from app.services.submit import Submission, submit_intents
from app.settings import inherited_environment
from tests.support.rig import Rig


class Death:
    """Kills the process where an API would send."""

    def __init__(self, epoch: Callable[[], str | None]) -> None:
        self._epoch = epoch

    def epoch(self) -> str | None:
        return self._epoch()

    def later(self, job: Callable[[], None]) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def main(folder: str, tenant: str, name: str, document: str) -> None:
    """Submit the document's workflow under this intent name, and die."""
    rig = Rig(inherited_environment(), Path(folder), ExitStack())
    workflow = json.loads(document)
    deps = rig.deps(workflow)
    deps = replace(deps, outbox=Death(deps.outbox.epoch))
    actor = Actor(UUID(tenant), "t", None, "tester@example.org", frozenset({"tenant_admin"}), "crash")
    submit_intents(deps, actor, [Submission(type=workflow["name"], spec={}, name=name)])


if __name__ == "__main__":
    main(*sys.argv[1:])
