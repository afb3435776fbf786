"""Mutants of the engine: sending, recovery, the worker around a step."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

LOST = "tests/unit/engine/test_lost.py::test_is_missing"
BROKER = "tests/integration/engine/test_broker.py"
TASK = "tests/unit/engine/test_task.py"
RACES = "tests/acceptance/test_races.py"
WORKERS = "tests/acceptance/kills/test_workers.py"
LANES = "tests/integration/engine/test_beat_lanes.py"
REPAIR = "tests/integration/db/test_repair.py"
RECOVERY = "migrations/sql/0001_recovery.sql"

MUTANTS = [
    Mutant(
        "a child that cannot be released ends the beat of its worker",
        "tasks/heartbeat.py",
        "            except Exception:\n                # One step",
        "            except OSError:\n                # One step",
        "tests/unit/engine/test_heart.py"
        "::test_a_child_that_cannot_be_released_keeps_neither_the_beat_nor_the_others",
    ),
    Mutant(
        "a plan that cannot be read keeps all that was admitted with it from being sent",
        "app/services/admission.py",
        "                    except Exception as fault:\n",
        "                    except OSError as fault:\n",
        "tests/unit/engine/test_admission.py"
        "::test_a_plan_that_cannot_be_read_keeps_no_other_run_from_being_sent",
    ),
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
        "a chain that goes on within its process overtakes what waits in the queue",
        RECOVERY,
        "SELECT s.queue, max(s.sent_at) FROM",
        "SELECT s.queue, max(greatest(s.ready_at, s.sent_at)) FROM",
        f"{REPAIR}::test_what_goes_on_within_its_process_overtakes_nobody_in_the_queue",
    ),
    Mutant(
        "a lot that goes on within its process overtakes what waits in the queue",
        RECOVERY,
        "AND NOT s.loose AND s.sent_at IS NOT NULL GROUP BY",
        "AND s.sent_at IS NOT NULL GROUP BY",
        f"{REPAIR}::test_what_goes_on_within_its_process_overtakes_nobody_in_the_queue",
    ),
    Mutant(
        "a lot's next message counts as waiting since the lot was dealt out",
        "migrations/sql/0001_lots.sql",
        "SET loose = false, sent_at = clock_timestamp()",
        "SET loose = false",
        f"{REPAIR}::test_the_message_that_a_lot_goes_on_with_begins_to_wait_when_it_is_sent",
    ),
    Mutant(
        "a queue without workers hides lost messages of the others",
        RECOVERY,
        "      ORDER BY turn, c.ready_at LIMIT p_limit\n",
        "      ORDER BY c.ready_at LIMIT p_limit\n",
        f"{REPAIR}::test_what_waits_in_one_queue_hides_no_lost_message_of_another",
    ),
    Mutant(
        "runs of one tenant that cannot be sent keep the others from it",
        RECOVERY,
        "      ORDER BY turn, s.ready_at LIMIT p_limit) u;",
        "      ORDER BY s.ready_at LIMIT p_limit) u;",
        f"{REPAIR}::test_runs_of_one_tenant_that_cannot_be_sent_keep_nobody_from_it",
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
