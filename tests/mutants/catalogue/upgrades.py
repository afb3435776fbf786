"""Breaks of upgrades: contracts too early, locks held too long, halves left behind."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

TESTS = "tests/migration/test_upgrade.py"
RULES = "tests/architecture/test_migration_rules.py"
UNIT = "tests/unit/domain/test_upgrades.py"

MUTANTS = [
    Mutant(
        "a contract does not look who works",
        "app/db/schema_state.py",
        "    if needing:\n",
        "    if False:\n",
        f"{TESTS}::test_contract_is_refused_while_a_process_of_the_old_release_lives",
    ),
    Mutant(
        "whoever begins asks for the floor without the lock",
        "migrations/sql/0001_processes.sql",
        "  PERFORM pg_advisory_xact_lock_shared(hashtext('quantum.attend'));\n",
        "",
        f"{TESTS}::test_no_old_process_slips_in_while_the_floor_is_raised",
    ),
    Mutant(
        "a release that was left behind may begin",
        "migrations/sql/0001_processes.sql",
        "  IF p_revision < (SELECT f.revision FROM schema_floor f) THEN",
        "  IF false THEN",
        f"{TESTS}::test_a_new_database_gets_everything",
    ),
    Mutant(
        "a process begins on a schema older than it needs",
        "migrations/sql/0001_processes.sql",
        "  IF p_needs > coalesce(",
        "  IF '' > coalesce(",
        f"{TESTS}::test_a_process_that_is_newer_than_the_schema_is_told_so",
    ),
    Mutant(
        "a process that was left behind goes on",
        "app/services/attendance.py",
        "                self._end()\n",
        "",
        "tests/integration/db/test_attendance.py::test_a_process_whose_release_is_left_behind_ends",
    ),
    Mutant(
        "without a phase contracts go by themselves",
        "app/domain/upgrades.py",
        "        return tuple(pending[: expands[-1] + 1]) if expands else ()\n",
        "        return tuple(pending)\n",
        f"{UNIT}::test_without_a_phase_it_is_all_that_the_release_needs",
    ),
    Mutant(
        "a lock that did not come is not asked for again",
        "app/db/migrate.py",
        'frozenset({"55P03", ',
        "frozenset({",
        f"{TESTS}::test_a_lock_that_does_not_come_keeps_nobody_waiting",
    ),
    Mutant(
        "the mark of a revision is not written with it",
        "migrations/env.py",
        "    on_version_apply=note,\n",
        "",
        f"{TESTS}::test_what_a_killed_build_of_an_index_left_is_mended",
    ),
    Mutant(
        "an index that is not valid passes for built",
        "migrations/scripts.py",
        "        if valid:\n",
        "        if valid is not None:\n",
        f"{TESTS}::test_what_a_killed_build_of_an_index_left_is_mended",
    ),
    Mutant(
        "batches of the owner see no tenant's rows",
        "migrations/scripts.py",
        '{_BOUNDED}; {drop}; {make}"',
        '{_BOUNDED}; {drop}"',
        f"{TESTS}::test_expand_goes_beside_the_release_before_contract_waits_to_be_asked_for",
    ),
    Mutant(
        "a newer schema is another build's",
        "app/db/schema_state.py",
        "        return self.current is not None and self.current > newest\n",
        "        return False\n",
        f"{TESTS}::test_the_old_release_works_on_the_expanded_schema_never_on_the_contracted",
    ),
    Mutant(
        "a message of a newer protocol is lost",
        "tasks/base.py",
        "        give_back(self.app.container.worker.executor, message)\n",
        "",
        "tests/integration/engine/test_newer_protocol.py::test_its_step_is_unsent_and_costs_no_try",
    ),
    Mutant(
        "a newer protocol passes for ours",
        "app/domain/leases.py",
        "        if len(more) > 1:\n",
        "        if len(more) > 9:\n",
        f"{UNIT}::test_a_message_of_a_newer_protocol_tells_whose_it_is",
    ),
    Mutant(
        "calls that could mean two functions pass",
        "checks/migration_rules.py",
        "    return old.name == new.name and not apart\n",
        "    return False\n",
        f"{RULES}::test_what_breaks_old_processes_is_for_a_contract",
    ),
    Mutant(
        "constraints may be added valid",
        "checks/migration_rules.py",
        "    validations,\n",
        "",
        f"{RULES}::test_what_locks_people_out_is_for_neither",
    ),
]
