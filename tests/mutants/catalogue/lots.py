"""Breaks of lots: siblings that are dealt out to fewer messages than steps."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STRETCH = "tasks/stretch.py"
SQL = "migrations/sql/0001_lots.sql"
ROWS = "tests/integration/db/test_lots.py"
WALKS = "tests/unit/engine/test_lot_walks.py"
DEALING = "tests/unit/workflows/test_lots.py"
LOST = "tests/unit/engine/test_lost.py"
WORKERS = "tests/acceptance/kills/test_lots.py"

MUTANTS = [
    Mutant(
        "a header waits behind a long sibling",
        "workflows/lots.py",
        "messages = slots(queue)\n",
        "messages = min(1, slots(queue))\n",
        f"{DEALING}::test_as_many_have_messages_as_the_queue_has_processes",
    ),
    Mutant(
        "steps are shared where nobody is known to take them",
        "workflows/lots.py",
        "if 0 < messages < len(found):",
        "if messages < len(found):",
        f"{DEALING}::test_nothing_is_shared_where_processes_suffice_or_nobody_knows_them",
    ),
    Mutant(
        "a line that changes its queue is shared",
        "workflows/lots.py",
        "            if len(queues) == 1:\n",
        "            if queues:\n",
        f"{DEALING}::test_a_line_that_changes_its_queue_keeps_its_message",
    ),
    Mutant(
        "an item that ends leaves its place to a message",
        "migrations/sql/0001_fans.sql",
        "p_item.lot IS NOT NULL AND p_run.state = 'running'",
        "false AND p_run.state = 'running'",
        f"{ROWS}::test_an_item_hands_its_place_on_to_whoever_ended_it",
    ),
    Mutant(
        "a place is handed on although another run may be next",
        "migrations/sql/0001_fans.sql",
        "AND p_run.state = 'running' AND p_run.held_steps IS NULL",
        "AND p_run.state = 'running'",
        f"{ROWS}::test_a_place_that_may_be_due_to_others_is_not_handed_on",
    ),
    Mutant(
        "a drained worker keeps the next item from others",
        "migrations/sql/0001_fans.sql",
        "'worker/' || p_item.worker));",
        "'worker/'));",
        f"{ROWS}::test_a_drained_worker_leaves_the_next_item_to_others",
    ),
    Mutant(
        "few items with places are of no lot",
        "workflows/lots.py",
        "            elif giving := tuple(line for line in found if hands_on(line[0])):",
        "            elif giving := tuple(line for line in found if not found):",
        f"{DEALING}::test_who_hands_its_place_on_is_of_a_lot_also_where_processes_suffice",
    ),
    Mutant(
        "two takers wait for each other",
        SQL,
        "LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)\n    AND u.tenant_id",
        "LIMIT 1 FOR NO KEY UPDATE)\n    AND u.tenant_id",
        f"{ROWS}::test_two_takers_never_take_the_same_and_never_wait_for_each_other",
    ),
    Mutant(
        "what was paused is taken all the same",
        SQL,
        "AND c.loose AND c.state || '' = 'ready'\n        AND c.sent_at IS NOT NULL\n"
        "      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)\n    AND u",
        "AND c.loose AND c.state || '' = 'ready'\n"
        "      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)\n    AND u",
        f"{ROWS}::test_a_pause_takes_the_loose_ones_away",
    ),
    Mutant(
        "a late owner takes another step",
        SQL,
        "  IF finished = 'finished' THEN\n    SELECT o.*",
        "  IF true THEN\n    SELECT o.*",
        f"{ROWS}::test_who_lost_its_step_takes_nothing",
    ),
    Mutant(
        "a step taken by an unheard commit is left behind",
        SQL,
        "    AND t.lease_boot = p_boot AND t.lease_pid = p_pid AND t.lease_born = p_born\n",
        "    AND false\n",
        f"{ROWS}::test_an_answer_that_was_lost_is_asked_for_again",
    ),
    Mutant(
        "what a failed step's unheard end took is left behind",
        "app/services/execute.py",
        "following if done or isinstance(following, Lot) else None",
        "following if done else None",
        "tests/integration/engine/test_lost_answers.py::test_who_took_another_of_its_lot_unheard_goes_on_with_it",
    ),
    Mutant(
        "an earlier dispatch takes from a later one",
        SQL,
        "AND c.lot = p_lot AND c.loose AND c.state || '' = 'ready'\n        AND c.sent_at IS NOT NULL\n"
        "      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)\n    AND u",
        "AND c.loose AND c.state || '' = 'ready'\n        AND c.sent_at IS NOT NULL\n"
        "      ORDER BY c.seq, c.item LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED)\n    AND u",
        f"{ROWS}::test_a_later_dispatch_is_none_of_an_earlier_lot",
    ),
    Mutant(
        "a step with a message of its own is taken by others",
        SQL,
        "  UPDATE run_steps t SET loose = false, sent_at",
        "  UPDATE run_steps t SET loose = true, sent_at",
        f"{ROWS}::test_a_message_of_its_own_is_claimed_by_that_message_alone",
    ),
    Mutant(
        "a lot loses a message with each process that dies",
        "migrations/sql/0001_control.sql",
        "lot = coalesce(link.lot, s.lot)",
        "lot = link.lot",
        f"{ROWS}::test_what_is_sent_again_by_itself_still_takes_others_along",
    ),
    Mutant(
        "nobody misses steps whose lot has died out",
        "app/domain/lost.py",
        "        return not candidate.tended\n",
        "        return False\n",
        f"{LOST}::test_a_loose_step_is_missing_when_nobody_will_take_it_along",
    ),
    Mutant(
        "a worker that comes later finds nothing to do",
        "app/domain/lost.py",
        " and spread[candidate.queue] < candidate.idle\n",
        " and False\n",
        f"{LOST}::test_as_many_loose_steps_get_messages_as_processes_have_nothing_to_do",
    ),
    Mutant(
        "a step that failed ends the taking",
        STRETCH,
        "        self._left = self._lot is not None and self._ends()\n",
        "        if not ok:\n            return None\n"
        "        self._left = self._lot is not None and self._ends()\n",
        f"{WALKS}::test_whatever_became_of_a_step_another_of_its_lot_follows",
    ),
    Mutant(
        "at a boundary the rest of a lot is forgotten",
        STRETCH,
        "return self._lot if self._left else None",
        "return None",
        f"{WALKS}::test_at_a_boundary_what_is_left_is_for_a_further_message",
    ),
]
