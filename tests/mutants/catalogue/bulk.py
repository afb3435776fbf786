"""Breaks of bulk actions."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BULK = "migrations/sql/0001_bulk.sql"
RUN = "app/services/run_bulk.py"
TEST = "tests/integration/db/test_bulk.py"

MUTANTS = [
    Mutant(
        "a bulk item is acted on without being claimed",
        BULK,
        "    AND outcome = 'pending' FOR NO KEY UPDATE SKIP LOCKED;\n  RETURN FOUND;",
        "    AND outcome = 'pending' FOR NO KEY UPDATE SKIP LOCKED;\n  RETURN true;",
        f"{TEST}::test_one_executor_at_a_time_and_a_late_one_does_nothing",
    ),
    Mutant(
        "a stopped bulk action goes on",
        BULK,
        " AND id = p_id AND state = 'running'\n    AND lease_owner = p_owner FOR NO",
        " AND id = p_id\n    AND lease_owner = p_owner FOR NO",
        f"{TEST}::test_a_cancel_waits_for_the_item_at_hand",
    ),
    Mutant(
        "a late executor of a bulk action goes on",
        BULK,
        "\n    AND lease_owner = p_owner FOR NO KEY UPDATE SKIP LOCKED;",
        " FOR NO KEY UPDATE SKIP LOCKED;",
        f"{TEST}::test_one_executor_at_a_time_and_a_late_one_does_nothing",
    ),
    Mutant(
        "a bulk action is not throttled",
        BULK,
        "d.next_at <= clock_timestamp()\n",
        "d.next_at IS NOT NULL\n",
        f"{TEST}::test_the_rate_is_kept",
    ),
    Mutant(
        "a bulk action saves up its rate for ever",
        BULK,
        "greatest(b.next_at, clock_timestamp() - interval '1 second')",
        "b.next_at",
        f"{TEST}::test_the_rate_is_kept",
    ),
    Mutant(
        "a bulk retry takes no heed of who was first",
        RUN,
        "item.version if batch.action in FROZEN_VERSION else None",
        "None",
        f"{TEST}::test_what_is_frozen_is_retried_once_in_its_maker_s_name",
    ),
    Mutant(
        "a bulk item is settled in a commit of its own",
        RUN,
        '        self.settle(connection, "ok", new_run_id=new_run_id)\n',
        "        self.new_run_id = new_run_id\n",
        f"{TEST}::test_an_item_is_acted_on_and_settled_in_one_commit",
    ),
    Mutant(
        "a bulk action makes work however many steps wait",
        RUN,
        " >= MOST_WAITING\n",
        " > 10**9\n",
        f"{TEST}::test_work_is_not_made_faster_than_it_is_done",
    ),
    Mutant(
        "a bulk action ends one item early",
        BULK,
        "  IF b.done = b.total THEN\n",
        "  IF b.done + 1 >= b.total THEN\n",
        f"{TEST}::test_what_is_frozen_is_retried_once_in_its_maker_s_name",
    ),
]
