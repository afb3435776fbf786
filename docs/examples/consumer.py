"""Counts how the runs of each tenant end, in a table of its own: each event once, whatever is killed."""

import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from app.consumers.handling import Handling
from app.consumers.opening import hub_consumer, stream_consumer
from app.db.inbox import Inbox

TABLE = """
  CREATE TABLE IF NOT EXISTS ends (
    tenant text, state text, runs integer NOT NULL, PRIMARY KEY (tenant, state)
  )
"""
COUNT = """
  INSERT INTO ends VALUES (%s, %s, 1) ON CONFLICT (tenant, state) DO UPDATE SET runs = ends.runs + 1
"""


def handle(cursor: Any, event: Mapping[str, Any]) -> None:
    """Write by the cursor only: that is one commit with the note that the event was handled."""
    state = event["type"].rpartition(".")[2]
    if event["type"].startswith("io.quantum.run.") and state in ("succeeded", "failed", "cancelled"):
        cursor.execute(COUNT, (event["tenantid"], state))


def main(database: str, *sink: str) -> None:
    """`DATABASE redis URL` or `DATABASE eventhubs CONNECTION HUB STORAGE`."""
    inbox, stop = Inbox(database, "ends"), threading.Event()
    inbox.prepare()
    inbox.once({"source": "ends", "id": "table"}, lambda cursor, _: cursor.execute(TABLE))
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    handling = Handling(inbox, handle, stop, time.monotonic)
    if sink[0] == "redis":
        stream_consumer(sink[1], "ends", handling).run()
    else:
        hub_consumer(sink[1], sink[2], "$default", sink[3], handling).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
