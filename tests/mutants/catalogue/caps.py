"""Breaks of what a tenant may keep, of how long a session lasts."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

CAPS = "app/db/caps.py"
TEST = "tests/integration/api/test_caps.py"
SIGN_IN = "tests/integration/api/test_sign_in.py"
RACE = f"{TEST}::test_eight_at_once_reach_the_cap_exactly"
ROOMS = {
    "users": ("app/services/manage_users.py", '"users"'),
    "secrets": ("app/services/manage_secrets.py", '"secrets"'),
    "modules": ("app/services/manage_modules.py", '"modules", "workflows", "intent_types"'),
    "workflows": ("app/services/manage_workflows.py", '"workflows"'),
    "intent_types": ("app/services/manage_modules.py", '"modules", "workflows", "intent_types"'),
    "schedules": ("app/services/manage_schedules.py", '"schedules"'),
    "planned_firings": ("app/services/manage_schedules.py", '"planned_firings"'),
    "webhooks": ("app/services/manage_webhooks.py", '"webhooks"'),
    "triggers": ("app/services/manage_triggers.py", '"triggers"'),
}


def _uncounted(kind: str, file: str, kinds: str) -> Mutant:
    others = ", ".join(each for each in kinds.split(", ") if each != f'"{kind}"')
    before = f"caps.room(connection, actor.tenant_id, {kinds})"
    after = f"caps.room(connection, actor.tenant_id{', ' + others if others else ''})"
    return Mutant(f"nobody counts {kind.replace('_', ' ')}", file, before, after, f"{RACE}[{kind}]")


MUTANTS = [
    *(_uncounted(kind, *place) for kind, place in ROOMS.items()),
    Mutant(
        "nobody counts bulk actions",
        "app/services/bulk_actions.py",
        'caps.room(connection, tenant_id, "bulk_actions")',
        "caps.room(connection, tenant_id)",
        f"{RACE}[bulk_actions]",
    ),
    Mutant(
        "two count before either has committed",
        CAPS,
        "        hold(connection, tenant_id, kind)\n",
        "        pass\n",
        f"{RACE}[secrets]",
    ),
    Mutant(
        "a cap that was lowered closes what is there",
        CAPS,
        "        if has > had and has > most:\n",
        "        if has > most:\n",
        f"{TEST}::test_a_cap_is_for_what_is_added_only",
    ),
    Mutant(
        "a tenant's own cap is not asked",
        CAPS,
        "    return USUAL[kind] if own is None else int(own)\n",
        "    return USUAL[kind]\n",
        f"{TEST}::test_what_a_module_brings_is_counted_as_a_whole",
    ),
    Mutant(
        "two sign-ins count before either has committed",
        "app/services/sign_in.py",
        "        held = users.find(connection, tenant.id, user.id, lock=True)\n",
        "        held = users.find(connection, tenant.id, user.id)\n",
        f"{SIGN_IN}::test_two_sign_ins_at_once_leave_no_session_too_many",
    ),
    Mutant(
        "the oldest session goes, also when it is in use",
        "app/db/sessions.py",
        "DESC, o.used_at DESC",
        "DESC, o.created_at DESC",
        f"{SIGN_IN}::test_of_too_many_sessions_the_one_unused_longest_ends",
    ),
    Mutant(
        "an ended session goes on until its access token ends",
        "app/db/users.py",
        '            " AND f.revoked_at IS NULL"\n',
        "",
        f"{SIGN_IN}::test_an_access_token_ends_with_its_session",
    ),
]
