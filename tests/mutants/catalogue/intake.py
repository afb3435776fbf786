"""Mutants of the quick ways of the API: one statement, counted ahead, read at a glance, dumped by a plan."""

from tests.mutants.mutant import Mutant

GROUP = "app/services/group_commit.py"
GROUPS = "tests/unit/engine/test_group_commit.py"
GROUP_ROWS = "tests/integration/db/test_group_commit.py"
API = "tests/integration/api"
INTAKE = "migrations/sql/0001_intake.sql"

MUTANTS = [
    Mutant(
        "two requests of one key are accepted at once",
        INTAKE,
        "WHERE CASE WHEN r.key IS NOT NULL THEN pg_try_advisory_xact_lock(",
        "WHERE CASE WHEN r.key IS NOT NULL THEN true OR pg_try_advisory_xact_lock(",
        f"{API}/test_idempotency.py::test_a_request_in_progress_is_told_so",
    ),
    Mutant(
        "an expired answer is given for ever",
        INTAKE,
        "         WHERE k.expires_at <= clock_timestamp()\n",
        "         WHERE false\n",
        f"{API}/test_idempotency.py::test_an_expired_answer_gives_way",
    ),
    Mutant(
        "an accepted request keeps no answer",
        "app/services/submit.py",
        "Request(actor.as_json(), rows, kept)",
        "Request(actor.as_json(), rows, None)",
        f"{API}/test_idempotency.py::test_a_repeat_replays_status_headers_body",
    ),
    Mutant(
        "a reader reads as nobody in particular",
        "app/db/engine.py",
        "_AS_TENANT = \"SELECT set_config('app.tenant_id', %(as_tenant)s, true); \"",
        "_AS_TENANT = \"SELECT set_config('app.tenant_id', %(as_tenant)s, false); \"",
        "tests/integration/db/test_engine.py::test_a_reader_sees_its_tenant_and_leaves_nothing_behind",
    ),
    Mutant(
        "requests counted ahead are never lost",
        "app/api/limits.py",
        "        if self.left == 0 or now >= self.until:\n",
        "        if self.left == 0:\n",
        "tests/unit/security/test_leases.py::test_what_was_counted_ahead_is_lost_after_a_second",
    ),
    Mutant(
        "a refused count ahead refuses the request",
        "app/api/limits.py",
        "            if granted == 0 and size > 1:\n",
        "            if False:\n",
        f"{API}/test_quick_ways.py::test_the_limit_is_exact_when_counted_ahead",
    ),
    Mutant(
        "a boolean passes for a priority",
        "app/api/submission_reader.py",
        "    return type(value) is int and",
        "    return isinstance(value, int) and",
        "tests/unit/api/test_submission_reader.py::test_a_glance_agrees_with_the_schema",
    ),
    Mutant(
        "each item of a batch is read by the schema",
        "app/api/submission_reader.py",
        "    if at_a_glance(item):\n        return",
        "    if False:\n        return",
        f"{API}/test_quick_ways.py::test_an_item_of_a_batch_is_few_calls_of_python",
    ),
    Mutant(
        "an address is sent unquoted",
        "app/api/serving.py",
        "_AS_IT_STANDS.fullmatch(value) is None",
        "False",
        "tests/unit/api/test_serving.py::test_an_answer_is_sent_with_the_headers_of_a_response",
    ),
    Mutant(
        "a flood wakes the sender for nothing",
        "app/services/event_bell.py",
        "        if job is not nothing_to_send:\n",
        "        if True:\n",
        "tests/integration/relay/test_wakeups.py::test_a_commit_of_which_nothing_is_sent_rings_and_wakes_no_sender",
    ),
    Mutant(
        "a dump invents what is missing",
        "app/api/dumping.py",
        "            if found is not missing:\n",
        "            if True:\n",
        "tests/unit/api/test_dumping.py::test_every_schema_dumps_as_marshmallow_does",
    ),
    Mutant(
        "one poisoned request fails its group",
        GROUP,
        "            if len(group) == 1:\n                raise\n",
        "            if group:\n                raise\n",
        f"{GROUPS}::test_a_poisoned_request_fails_alone",
    ),
    Mutant(
        "a group of unknown outcome is performed again",
        GROUP,
        "        except Unavailable as lost:\n            error = lost\n",
        "        except Unavailable:\n            alone = True\n",
        f"{GROUPS}::test_nobody_is_performed_again_when_the_outcome_is_unknown",
    ),
    Mutant(
        "two requests of one key share a group",
        GROUP,
        "(name is not None and name in names)",
        "(name is not None and name is names)",
        f"{GROUPS}::test_two_of_one_key_never_share_a_group",
    ),
    Mutant(
        "a group that hangs holds the whole tenant up",
        GROUP,
        "            group = self._depart(tenant_id, mine)\n",
        "            group = self._depart(tenant_id, mine) if not mine.told.acquire(timeout=20) else None\n",
        f"{GROUPS}::test_a_group_that_hangs_is_not_waited_for",
    ),
    Mutant(
        "nobody leads after the leader",
        GROUP,
        "            line.leader.tell()\n",
        "            pass\n",
        f"{GROUPS}::test_those_that_wait_go_together_each_with_its_own_outcome",
    ),
    Mutant(
        "all of a group are written as its first person",
        "migrations/sql/0001_functions.sql",
        "p_actors -> coalesce(i.n, 0) AS actor",
        "p_actors -> 0 AS actor",
        f"{GROUP_ROWS}::test_a_group_is_accepted_each_as_its_own_person",
    ),
    Mutant(
        "an answered request is done again beside others",
        INTAKE,
        " WHERE NOT others ? coalesce(i ->> 'n', '0');",
        ";",
        f"{GROUP_ROWS}::test_an_answered_request_keeps_no_other_out",
    ),
]
