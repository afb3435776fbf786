"""Breaks of what bounds the harm that one tenant's data can do to others."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

ISOLATION = "tests/unit/engine/test_isolation.py"
COSTS = "tests/unit/workflows/test_schema_cost.py"
FAMILIES = "tests/unit/workflows/test_nesting.py"
DECISIONS = "tests/unit/workflows/test_decisions.py"
CEL_COST = "tests/unit/workflows/test_cel_cost.py"
API = "tests/integration/api/test_hostile.py"

MUTANTS = [
    Mutant(
        "a broker out of memory ends the worker",
        "app/messaging/celery_app.py",
        '"broker_channel_error_retry": True',
        '"broker_channel_error_retry": False',
        "tests/acceptance/kills/test_servers.py::test_a_broker_out_of_memory_costs_no_worker",
    ),
    Mutant(
        "a worker that failed is ended in the middle of a step",
        "tasks/last_resort.py",
        "if not code or self._busy():",
        "if not code:",
        "tests/unit/engine/test_last_resort.py::test_what_it_executes_is_waited_for",
    ),
    Mutant(
        "a run that raises stops the dispatcher",
        "app/services/dispatch.py",
        "        except Exception:\n",
        "        except KeyError:\n",
        f"{ISOLATION}::test_the_others_are_brought_forward",
    ),
    Mutant(
        "a run that raises keeps other parents from their children's ends",
        "app/services/family.py",
        "        except Exception:\n",
        "        except KeyError:\n",
        f"{ISOLATION}::test_the_other_parents_are_told",
    ),
    Mutant(
        "a decision that raises comes back for ever",
        "app/services/failing.py",
        "    except Exception as fault:",
        "    except KeyError as fault:",
        f"{ISOLATION}::test_what_nobody_foresaw_fails_the_step_that_met_it",
    ),
    Mutant(
        "an expression may give what no row can keep",
        "workflows/cel.py",
        '    if "\\0" in text:',
        "    if False:",
        f"{DECISIONS}::test_refused_when_evaluated",
    ),
    Mutant(
        "a saved token goes to any server",
        "app/commands/shell.py",
        '        if self._saved.url.rstrip("/") != self.url:\n',
        "        if False:\n",
        "tests/unit/client/test_texts_of_others.py::test_a_saved_token_stays_with_the_server_that_gave_it",
    ),
    Mutant(
        "a terminal obeys what others wrote",
        "app/commands/shell.py",
        "        reader = _as_it_is if self.as_json else visible\n",
        "        reader = _as_it_is\n",
        "tests/unit/client/test_texts_of_others.py::test_names_and_errors_of_others_are_text",
    ),
    Mutant(
        "an expression may join lists until the memory is full",
        "workflows/cel_cost.py",
        "    joined = 0 if shape.macros else values * shape.pluses",
        "    joined = 0",
        f"{CEL_COST}::test_what_would_take_seconds_or_gigabytes_is_refused_at_once",
    ),
    Mutant(
        "a loop may look at a large list in each turn",
        "workflows/cel_cost.py",
        "    values = sum(size.values * turns[use.depth] for use, size in named)",
        "    values = sum(size.values for use, size in named)",
        f"{CEL_COST}::test_what_would_take_seconds_or_gigabytes_is_refused_at_once",
    ),
    Mutant(
        "a step may take what nests too deep",
        "workflows/decisions.py",
        "    if too_deep(values):",
        "    if False:",
        f"{DECISIONS}::test_what_nests_too_deep_to_be_read_again_is_refused",
    ),
    Mutant(
        "a step may give what nests too deep",
        "app/db/hot.py",
        "        if not too_deep(output):",
        "        if True:",
        "tests/unit/domain/test_values.py::test_an_output_that_nests_too_deep_to_be_read_again_is_told",
    ),
    Mutant(
        "a schema may judge a place as often as it likes",
        "workflows/schema_cost.py",
        "    if count > MOST_AT_A_PLACE:",
        "    if False:",
        f"{COSTS}::test_what_could_take_too_long_is_refused",
    ),
    Mutant(
        "a named member is judged by what judges the others, too",
        "workflows/schema_cost.py",
        "- sum(costs[one] for one in instead))",
        ")",
        f"{COSTS}::test_what_judges_one_place",
    ),
    Mutant(
        "each place of a fault is looked for, however long that takes",
        "workflows/specs.py",
        "        if _places(spec, most // self.cost) > most // self.cost:",
        "        if False:",
        f"{COSTS}::test_the_places_of_faults_are_told_where_that_takes_no_long",
    ),
    Mutant(
        "a family of workflows may have any number of steps",
        "app/services/library.py",
        "        if self._steps > MAX_FAMILY_STEPS:",
        "        if False:",
        f"{FAMILIES}::test_a_family_of_too_many_steps_is_refused",
    ),
    Mutant(
        "schemas fill a plan",
        "workflows/checks.py",
        "    if total > MAX_SCHEMA_CHARACTERS:",
        "    if False:",
        f"{FAMILIES}::test_schemas_that_would_fill_a_plan_are_refused",
    ),
    Mutant(
        "a run may open any number of steps",
        "migrations/sql/0001_control.sql",
        "  IF r.open_steps + width > 100000 THEN",
        "  IF false THEN",
        "tests/integration/db/test_fans.py::test_a_fan_that_would_open_too_many_steps_fails_its_own",
    ),
    Mutant(
        "a family of runs is counted from where it is looked at",
        "app/db/nesting.py",
        "    WHERE up.parent_run_id IS NULL LIMIT :most) found",
        "    WHERE up.id = :run LIMIT :most) found",
        "tests/integration/db/test_nesting.py::test_a_family_is_counted_from_its_root",
    ),
    Mutant(
        "a family of runs may grow by powers",
        "app/services/advance.py",
        "                if full and value is not None:",
        "                if False:",
        "tests/integration/api/test_sub_workflows.py::test_a_family_that_is_full_begins_no_further_run",
    ),
    Mutant(
        "a rerun holds its run while it waits for its key",
        "migrations/sql/0001_steering.sql",
        "array_remove(ARRAY[coalesce(p_concurrency ->> 'key', u.concurrency_key)], NULL)",
        "'{}'::text[]",
        "tests/integration/db/test_steering.py::test_a_rerun_waits_for_its_key_before_it_holds_its_run",
    ),
    Mutant(
        "a time may be a day that no row can be read with",
        "workflows/waits.py",
        "            return moment.astimezone(UTC)",
        "            return moment",
        f"{API}::test_a_wait_until_no_day_of_a_calendar_fails",
    ),
    Mutant(
        "an item that waits for a place is said to need nothing",
        "app/services/explain_run.py",
        '    return "place", ',
        '    return "need", ',
        f"{API}::test_an_item_without_a_place_is_told_so",
    ),
]
