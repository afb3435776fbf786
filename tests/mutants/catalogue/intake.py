"""Mutants of the quick ways of the API: one statement, counted ahead, read at a glance, dumped by a plan."""

from tests.mutants.mutant import Mutant

API = "tests/integration/api"
INTAKE = "migrations/sql/0001_intake.sql"

MUTANTS = [
    Mutant(
        "two requests of one key are accepted at once",
        INTAKE,
        "    IF NOT alone THEN\n",
        "    IF false THEN\n",
        f"{API}/test_idempotency.py::test_a_request_in_progress_is_told_so",
    ),
    Mutant(
        "an expired answer is given for ever",
        INTAKE,
        "      AND k.expires_at > clock_timestamp();\n",
        "      AND k.expires_at IS NOT NULL;\n",
        f"{API}/test_idempotency.py::test_an_expired_answer_gives_way",
    ),
    Mutant(
        "an accepted request keeps no answer",
        "app/services/submit.py",
        "actor.as_json(), rows, kept)",
        "actor.as_json(), rows, None)",
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
        "a dump invents what is missing",
        "app/api/dumping.py",
        "            if found is not missing:\n",
        "            if True:\n",
        "tests/unit/api/test_dumping.py::test_every_schema_dumps_as_marshmallow_does",
    ),
]
