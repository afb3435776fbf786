"""Which queues have a worker without an idle process."""

from __future__ import annotations

from app.db import workers
from app.domain.leases import Child
from tests.support.spine import LEASE, Spine


def test_a_queue_is_busy_while_one_of_its_workers_has_no_idle_process(spine: Spine) -> None:
    child = LEASE.child
    workers.beat(spine.system, LEASE.boot, "w1@h", 1, "1", ("default", "other"), [child])
    assert workers.busy_queues(spine.system) == frozenset()
    run = spine.start({"a": []})
    claim = spine.claim(run, "a")
    assert workers.busy_queues(spine.system) == {"default", "other"}
    workers.beat(spine.system, LEASE.boot, "w1@h", 1, "1", ("default",), [child, Child(7, 7)])
    assert workers.busy_queues(spine.system) == frozenset(), "one process is idle"
    workers.beat(spine.system, LEASE.boot, "w1@h", 1, "1", ("default",), [child])
    spine.finish(run, "a", claim.tries)
    assert workers.busy_queues(spine.system) == frozenset()
    workers.leave(spine.system, LEASE.boot)
