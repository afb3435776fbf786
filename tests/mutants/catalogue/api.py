"""Mutants of the HTTP layer: who may, what is repeated, what is refused."""

from tests.mutants.mutant import Mutant

API = "tests/integration/api"

MUTANTS = [
    Mutant(
        "authorize lets everybody pass",
        "app/security/authorize.py",
        "    if not is_allowed(actor, permission):\n",
        "    if not is_allowed(actor, permission) and not actor.roles:\n",
        f"{API}/test_roles.py::test_roles",
    ),
    Mutant(
        "platform administration counts in every tenant",
        "app/services/manage_users.py",
        "    if actor.tenant_slug != PLATFORM_SLUG and roles & PLATFORM_ROLES:\n",
        "    if False:\n",
        f"{API}/test_roles.py::test_platform_administration_cannot_be_granted_or_carried_elsewhere",
    ),
    Mutant(
        "the hash of a repeated request is ignored",
        "app/api/idempotency.py",
        "        if kept.request_hash != self.request_hash:\n",
        "        if False:\n",
        f"{API}/test_idempotency.py::test_the_same_key_with_another_body_is_refused",
    ),
    Mutant(
        "an idempotency key is not locked",
        "app/api/idempotency.py",
        "        if not claim.acquired:\n            raise _in_progress()\n",
        "",
        f"{API}/test_idempotency.py::test_a_request_in_progress_is_told_so",
    ),
    Mutant(
        "the answer to a refused request is kept",
        "app/api/intents.py",
        "    if outcome.error is not None:\n        raise outcome.error\n",
        "",
        f"{API}/test_idempotency.py::test_a_refused_request_leaves_the_key_free",
    ),
    Mutant(
        "a reused refresh token ends no family",
        "app/services/sign_in.py",
        "            sessions.revoke_family(connection, token.tenant_id, token.family_id)\n",
        "",
        f"{API}/test_sign_in.py::test_a_refresh_token_works_once_and_its_reuse_ends_the_family",
    ),
    Mutant(
        "the end of a family is rolled back",
        "app/services/sign_in.py",
        "            sessions.revoke_family(connection, token.tenant_id, token.family_id)\n",
        "            raise _refused()\n",
        f"{API}/test_sign_in.py::test_a_refresh_token_works_once_and_its_reuse_ends_the_family",
    ),
    Mutant(
        "a refresh family is not locked",
        "app/db/sessions.py",
        " WHERE tenant_id = :tenant AND id = :id FOR UPDATE",
        " WHERE tenant_id = :tenant AND id = :id",
        f"{API}/test_sign_in.py::test_two_uses_of_one_refresh_token_at_once_do_not_both_win",
    ),
    Mutant(
        "sign-in attempts are counted after they are judged",
        "app/services/sign_in.py",
        "        sessions.note_attempts(connection, keys, 2 * max(limits.values()))\n",
        "        pass\n",
        f"{API}/test_sign_in.py::test_failures_are_limited_for_a_source_even_in_parallel",
    ),
    Mutant(
        "an unknown user costs no hash",
        "app/security/passwords.py",
        "    try:\n        _HASHER.verify(",
        "    if password_hash is None:\n        return False\n    try:\n        _HASHER.verify(",
        f"{API}/test_sign_in.py::test_wrong_credentials_look_alike",
    ),
    Mutant(
        "If-Match is ignored",
        "app/services/manage_users.py",
        "        if version is not None and version != present.version:\n",
        "        if False:\n",
        f"{API}/test_changes.py::test_of_two_changes_on_one_version_one_wins",
    ),
    Mutant(
        "cursors are not signed for their list",
        "app/api/paging.py",
        '    bound = f"{name}\\n{actor().tenant_id}\\n{inner}".encode()\n',
        "    bound = inner.encode()\n",
        f"{API}/test_lists.py::test_cursors_belong_to_one_list",
    ),
    Mutant(
        "a NUL reaches the database",
        "app/api/bodies.py",
        "    if nests or _SUSPICIOUS.search(raw):\n",
        "    if nests:\n",
        f"{API}/test_problems.py::test_bad_bodies_name_their_place",
    ),
    Mutant(
        "rate limits fail closed",
        "app/api/limits.py",
        "        except (RedisError, OSError) as down:\n",
        "        except ZeroDivisionError as down:\n",
        f"{API}/test_submissions.py::test_without_redis_requests_go_on",
    ),
    Mutant(
        "a secret is sealed for no name",
        "app/security/secret_box.py",
        '    return b"secret/" + tenant_id.bytes + b"/" + name.encode()\n',
        '    return b"secret/"\n',
        "tests/unit/security/test_secret_box.py::test_a_sealed_value_opens_in_its_place_only",
    ),
    Mutant(
        "a seal does not vouch for the one before it",
        "app/security/audit_chain.py",
        "+ previous + digest",
        "+ digest",
        "tests/integration/db/test_audit_chain.py::test_tampering_shows",
    ),
    Mutant(
        "verification believes the stored digest",
        "app/services/verify_audit.py",
        "    if found is None or (found.records, found.digest) != (link.records, link.digest):\n",
        "    if found is None:\n",
        "tests/integration/db/test_audit_chain.py::test_tampering_shows",
    ),
]
