"""The example's consumer with short times; run as a module it dies behind a commit, before the checkpoint."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import redis

from app.consumers.handling import Handling, HandlingRules
from app.consumers.opening import hub_consumer, stream_consumer
from app.consumers.streams import StreamRules
from app.db.inbox import Inbox

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "consumer.py"
SHORT = StreamRules(lease_s=0.6, block_s=0.05, pause_s=0.05)
PATIENT = HandlingRules(attempts=3, pause_least_s=0.01, pause_most_s=0.05)


def handling_of(database: str, name: str, handle: Any, stop: threading.Event | None = None) -> Handling:
    """Return what handles events of a test, its inbox made."""
    inbox = Inbox(database, name)
    inbox.prepare()
    return Handling(inbox, handle, stop or threading.Event(), time.monotonic, PATIENT)


def example(database: str, sink: str, *addresses: str) -> Any:
    """Return the example's consumer, not running yet, its table made."""
    names = runpy.run_path(str(EXAMPLE))
    handling = handling_of(database, "ends", names["handle"])
    handling.inbox.once({"source": "ends", "id": "table"}, lambda cursor, _: cursor.execute(names["TABLE"]))
    if sink == "redis":
        return stream_consumer(addresses[0], "ends", handling, rules=SHORT)
    from tests.support.hub_rules import QUICK  # noqa: PLC0415 - imports the SDK

    connection, hub, storage = addresses
    return hub_consumer(connection, hub, "$default", storage, handling, rules=QUICK)


def die(*_: Any, **__: Any) -> None:
    """End this process as a crash would."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    if sys.argv[2] == "redis":
        redis.Redis.xack = die
    else:
        from app.consumers.checkpoints import SoundCheckpoints

        SoundCheckpoints.update_checkpoint = die
    example(*sys.argv[1:]).run()
