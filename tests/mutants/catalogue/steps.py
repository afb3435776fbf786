"""Breaks of the limit of steps at once, of pools that belong to one tenant."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

LIMITS = "migrations/sql/0001_step_limits.sql"
TESTS = "tests/integration/db/test_step_limits.py"

POOL_TESTS = "tests/integration/api/test_pools.py"

NESTING_TESTS = "tests/integration/db/test_nesting.py"

MUTANTS = [
    Mutant(
        "a fault whose detail cannot be kept leaves its step running",
        "app/services/faults.py",
        "    except (TypeError, ValueError, RecursionError) as wrong:\n",
        "    except RecursionError as wrong:\n",
        "tests/integration/engine/test_faults.py::test_whatever_an_operation_raises_settles_its_step",
    ),
    Mutant(
        "a fault may ask for a pause without end",
        "app/services/faults.py",
        "min(max(seconds, 0.0), LONGEST_PAUSE_S)",
        "max(seconds, 0.0)",
        "tests/integration/engine/test_faults.py::test_whatever_an_operation_raises_settles_its_step",
    ),
    Mutant(
        "one timer that cannot be ended keeps all the others",
        "app/services/timers.py",
        "return fire(system, WAITS_AT_ONCE, careful=True)",
        "return fire(system, WAITS_AT_ONCE)",
        "tests/integration/db/test_waits.py::test_a_timer_that_cannot_be_ended_does_not_keep_the_others",
    ),
    Mutant(
        "a schedule holds a run while it waits for a key",
        "app/services/submit.py",
        "        hot.lock_entry(connection, actor.tenant_id, rows)\n",
        "",
        "tests/integration/api/test_schedules.py::test_who_cancels_and_declares_takes_the_keys_before_the_runs",
    ),
    Mutant(
        "recovery forgets to undo a sub-workflow",
        "app/db/nesting.py",
        "<> (s.key, s.tries) THEN 'undo' END",
        "<> (s.key, s.tries) THEN NULL END",
        f"{NESTING_TESTS}::test_a_child_that_has_ended_is_undone_with_its_parent_whoever_dies_between",
    ),
    Mutant(
        "a child is undone twice",
        "migrations/sql/0001_nesting.sql",
        "AND key = c.parent_step AND tries > c.parent_try);",
        "AND key = c.parent_step);",
        f"{NESTING_TESTS}::test_a_child_that_has_ended_is_undone_with_its_parent_whoever_dies_between",
    ),
    Mutant(
        "a sub-workflow is not undone with its parent",
        "workflows/plan.py",
        "is not None and child.plan.undo:\n",
        "is not None and not child.plan.undo:\n",
        "tests/unit/workflows/test_nesting.py::test_a_parent_undoes_a_child_that_can_be_undone",
    ),
    Mutant(
        "a child goes on before its step's pause is over",
        "app/db/nesting.py",
        "AND NOT s.is_fan AND s.not_before IS NULL",
        "AND NOT s.is_fan",
        f"{NESTING_TESTS}::test_a_step_with_attempts_left_waits_and_then_sends_its_child_on",
    ),
    Mutant(
        "a cancelled run waits for the retry of its sub-workflow",
        "migrations/sql/0001_limits.sql",
        " OR not_before IS NOT NULL));",
        "));",
        f"{NESTING_TESTS}::test_a_step_that_waits_for_its_retry_is_closed_by_a_cancel",
    ),
    Mutant(
        "a pool of another tenant may be named in what is registered",
        "app/services/manage_workflows.py",
        "    check_pools(connection, actor.tenant_id, definition, plan, library)\n",
        "",
        f"{POOL_TESTS}::test_others_are_refused_where_they_register",
    ),
    Mutant(
        "a pool of another tenant may be named in what is submitted",
        "app/services/submit.py",
        "for pair, named in pools.items() if taken & named}",
        "for pair, named in pools.items() if not named}",
        f"{POOL_TESTS}::test_others_are_refused_where_they_submit",
    ),
    Mutant(
        "a dedicated pool is refused to its owner",
        "migrations/sql/0001_dedicated_pools.sql",
        "AND d.tenant_id <> p_tenant",
        "AND d.tenant_id IS NOT NULL",
        f"{POOL_TESTS}::test_others_are_refused_where_they_register",
    ),
    Mutant(
        "no lock where steps get places",
        LIMITS,
        "  PERFORM lock_places(r.tenant_id);\n",
        "",
        f"{TESTS}::test_the_second_who_asks_waits_for_the_first",
    ),
    Mutant(
        "sent steps take no place",
        LIMITS,
        "AND a.sent_at IS NOT NULL\n     LIMIT p_most)",
        "AND a.sent_at IS NULL\n     LIMIT p_most)",
        f"{TESTS}::test_eight_admitters_at_a_barrier_never_exceed_the_limit",
    ),
    Mutant(
        "a submission is written as sent in spite of the limit",
        "migrations/sql/0001_admission.sql",
        "    p_blocked := array_append(p_blocked, NULL);\n",
        "",
        f"{TESTS}::test_a_submission_is_not_written_as_sent_and_its_first_step_goes_when_it_has_a_place",
    ),
    Mutant(
        "the end of a step wakes nobody",
        "migrations/sql/0001_functions.sql",
        "OR p_run.parent_run_id IS NOT NULL OR p_run.held_steps IS NOT NULL;",
        "OR p_run.parent_run_id IS NOT NULL;",
        f"{TESTS}::test_what_ends_leads_to_who_waits_by_priority_then_age",
    ),
    Mutant(
        "who asks first gets the place",
        LIMITS,
        "h.priority > r.priority OR h.priority = r.priority AND h.id < r.id LIMIT free",
        "false LIMIT free",
        f"{TESTS}::test_a_wide_run_leaves_the_next_place_to_an_urgent_one",
    ),
    Mutant(
        "a wait takes a place",
        LIMITS,
        "AND NOT s.is_fan AND s.operation NOT IN ('wait', 'workflow')",
        "AND NOT s.is_fan",
        f"{TESTS}::test_waits_fans_and_sub_workflows_take_no_place",
    ),
    Mutant(
        "a canvas forks under the limit",
        "app/services/advance.py",
        "            segments = narrow(segments)\n",
        "            segments = segments[:]\n",
        "tests/acceptance/test_fairness.py::test_a_tenant_with_one_step_at_a_time_never_has_two",
    ),
    Mutant(
        "a claim gives up when the run begins beside it",
        "migrations/sql/0001_functions.sql",
        "      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL\n"
        "      AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.name IN"
        " ('*', 'tenant/' || p_tenant, 'worker/' || p_worker));",
        "      AND t.dispatch_epoch = p_epoch AND t.sent_at IS NOT NULL\n"
        "      AND EXISTS (SELECT 1 FROM runs u WHERE u.tenant_id = p_tenant AND u.id = p_run"
        " AND u.state = 'queued');",
        "tests/integration/db/test_races.py"
        "::test_no_first_claim_is_lost_whenever_the_other_one_starts_the_run",
    ),
]
