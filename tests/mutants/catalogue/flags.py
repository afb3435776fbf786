"""Breaks of feature flags."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

DOMAIN = "app/domain/flags.py"
TEST = "tests/integration/api/test_flags.py"

MUTANTS = [
    Mutant(
        "a kill switch yields to a tenant's override",
        DOMAIN,
        "    if rule.killed:\n",
        "    if rule.killed and override is None:\n",
        "tests/unit/domain/test_flags.py::test_what_is_said_last_in_rank_decides",
    ),
    Mutant(
        "a killed feature goes on",
        "app/api/bulk.py",
        '    parts().flags.require("bulk_actions", actor().tenant_id)\n',
        "",
        f"{TEST}::test_a_killed_feature_is_refused_to_everybody_then_works_again",
    ),
    Mutant(
        "flags forget what they knew when the database is away",
        "app/services/flags.py",
        "rules = kept[1] if kept is not None else {}",
        "rules = {}",
        f"{TEST}::test_while_the_database_is_away_the_last_rules_hold",
    ),
    Mutant(
        "a flag is changed whatever version the caller saw",
        "app/services/manage_flags.py",
        "if version is not None and version != present.version:",
        "if version is not None and version > present.version:",
        f"{TEST}::test_two_who_change_at_once_do_not_overwrite_each_other",
    ),
]
