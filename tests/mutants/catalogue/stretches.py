"""Breaks of stretches: what one process executes of a chain without a message."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

STRETCH = "tasks/stretch.py"
SQL = "migrations/sql/0001_stretches.sql"
UNIT = "tests/unit/engine/test_stretch.py"
ROWS = "tests/integration/db/test_stretches.py"

CHAINS = "app/messaging/chains.py"
SENT = "tests/unit/engine/test_chains.py"

MUTANTS = [
    Mutant(
        "a chain is sent the wrong way round",
        CHAINS,
        "for link in reversed(rest)]",
        "for link in rest]",
        f"{SENT}::test_a_chain_is_the_message_that_celery_would_send",
    ),
    Mutant(
        "a chain that a step sends forgets its canvas",
        CHAINS,
        "root_id=None if origin is None else origin.root_id or origin.id,",
        "root_id=None,",
        f"{SENT}::test_a_chain_sent_by_a_step_belongs_to_its_canvas",
    ),
    Mutant(
        "a header of a chord travels without its count",
        CHAINS,
        ' and link["options"].keys() == OWN',
        "",
        f"{SENT}::test_what_celery_counts_is_left_to_celery",
    ),
    Mutant(
        "a stretch swallows a chord carrier",
        STRETCH,
        "    if any(value and name not in PLAIN for name, value in options.items()):\n        return None\n",
        "",
        f"{UNIT}::test_what_celery_has_more_to_do_for_than_to_send_is_left_to_it",
    ),
    Mutant(
        "a stretch goes on in another queue",
        STRETCH,
        ' or options.get("queue") != queue:',
        ":",
        f"{UNIT}::test_it_ends_where_the_queue_changes",
    ),
    Mutant(
        "a stretch holds its process for ever",
        STRETCH,
        "        return self._clock() - self._began >= SECONDS_AT_MOST\n",
        "        return False\n",
        f"{UNIT}::test_it_ends_after_two_seconds",
    ),
    Mutant(
        "a shutdown waits for the whole chain",
        STRETCH,
        " or self._closing:",
        ":",
        f"{UNIT}::test_it_ends_at_a_shutdown_which_the_parent_tells_by_shared_memory",
    ),
    Mutant(
        "what a stretch executed is sent all the same",
        STRETCH,
        "        self._request.chain = self._request.chain[:-1]\n",
        "",
        f"{UNIT}::test_it_follows_the_chain_and_leaves_what_is_left_to_celery",
    ),
    Mutant(
        "a stretch ignores a pause",
        "migrations/sql/0001_functions.sql",
        "      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL\n      AND u.tenant_id",
        "      AND t.dispatch_epoch = p_epoch\n      AND u.tenant_id",
        f"{ROWS}::test_a_pause_is_seen_at_the_boundary",
    ),
    Mutant(
        "a late owner claims the next step",
        SQL,
        "  IF finished = 'finished' THEN\n",
        "  IF true THEN\n",
        f"{ROWS}::test_who_lost_its_step_claims_nothing",
    ),
    Mutant(
        "a stretch takes a step whose message was taken back",
        SQL,
        " AND n.sent_at IS NOT NULL",
        "",
        f"{ROWS}::test_a_mark_that_was_taken_back_is_seen_at_the_boundary",
    ),
    Mutant(
        "a stretch takes a step of another dispatch",
        SQL,
        " AND n.dispatch_epoch = p_epoch",
        "",
        f"{ROWS}::test_another_dispatch_is_seen_at_the_boundary",
    ),
    Mutant(
        "a stretch passes a join before its other needs",
        SQL,
        "        AND n.needs_left = 1 AND",
        "        AND",
        f"{ROWS}::test_a_join_with_open_needs_is_not_claimed",
    ),
    Mutant(
        "a stretch leaves the run's count of open steps",
        SQL,
        "  UPDATE runs SET open_steps = open_steps - 1 WHERE",
        "  UPDATE runs SET open_steps = open_steps WHERE",
        f"{ROWS}::test_a_chain_leaves_the_same_rows_whichever_way_it_went",
    ),
]
