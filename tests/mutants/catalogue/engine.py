"""Mutants of the engine: sending, recovery, the worker around a step."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

LOST = "tests/unit/engine/test_lost.py::test_is_missing"
BROKER = "tests/integration/engine/test_broker.py"
TASK = "tests/unit/engine/test_task.py"
RACES = "tests/acceptance/test_races.py"
WORKERS = "tests/acceptance/kills/test_workers.py"
LANES = "tests/integration/engine/test_beat_lanes.py"

MUTANTS = [
    Mutant(
        "a look into the broker keeps recovery waiting",
        "tasks/beat_table.py",
        """        ),
        "broker": (Job("lost_messages", 2.0, lost.look),),
""",
        """            Job("lost_messages", 2.0, lost.look),
        ),
""",
        f"{LANES}::test_recovery_shares_its_lane_with_nothing",
    ),
    Mutant(
        "a broken job keeps those behind it from running",
        "tasks/beat_lane.py",
        "except Exception as error:",
        "except LookupError as error:",
        f"{LANES}::test_a_lane_outlives_what_its_jobs_raise_and_tells_it",
    ),
    Mutant(
        "what waits in a long queue counts as lost",
        "app/domain/lost.py",
        "    return queue.whole or candidate.overtaken\n",
        "    return True\n",
        LOST,
    ),
    Mutant(
        "a flushed broker is not noticed",
        "app/domain/lost.py",
        "    if candidate.broker_epoch != view.epoch:\n        return True\n",
        "",
        LOST,
    ),
    Mutant(
        "one look is enough to send again",
        "app/services/recover.py",
        "lost = [candidate for candidate in missing if candidate.message_id in self._missed]",
        "lost = missing",
        f"{BROKER}::test_a_lost_message_is_sent_again_after_two_looks_only",
    ),
    Mutant(
        "a submission waits for the broker",
        "app/messaging/producer.py",
        "return None if self._jobs.qsize() > WAITING // 2 else self._link.epoch",
        "return self._link.refresh()",
        f"{BROKER}::test_a_stopped_broker_costs_a_submission_nothing",
    ),
    Mutant(
        "a lost claim goes on with its canvas",
        "tasks/base.py",
        "    raise Ignore\n",
        "    return OK\n",
        f"{TASK}::test_all_else_ends_the_canvas_quietly",
    ),
    Mutant(
        "two advances mark in transactions of their own",
        "app/services/advance.py",
        "    sent = hot.mark_sent(connection, tenant_id, run_id, keys, carriers, broker_epoch, dealt)\n",
        "    sent = hot.Sent(dict.fromkeys(keys, 1), {})\n",
        f"{RACES}::test_two_advances_of_one_run_send_each_step_once",
    ),
    Mutant(
        "a dead pool process keeps its claims",
        "tasks/heartbeat.py",
        "release_child(self._parts.nursing, child_lease(self._parent, child))\n        self._children",
        "self._children",
        f"{WORKERS}::test_a_pool_process_killed_in_a_step_costs_one_attempt",
    ),
    Mutant(
        "an operation's idempotency key changes with each attempt",
        "app/services/execute.py",
        'idempotency_key=f"{message.run_id}:{message.key}:{claim.round}"',
        'idempotency_key=f"{message.run_id}:{message.key}:{claim.tries}"',
        f"{WORKERS}::test_a_header_retried_after_its_siblings_finished_holds_the_join_back",
    ),
]
