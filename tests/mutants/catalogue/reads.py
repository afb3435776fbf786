"""Mutants of reads: how new a replica is, which server answers, what a tag names."""

from tests.mutants.mutant import Mutant

REPLICAS = "tests/integration/api/test_replicas.py"
FRESHNESS = "tests/unit/domain/test_replication.py"
CHANGES = "tests/integration/api/test_changes.py"
SHOWN = f"{REPLICAS}::test_a_read_with_a_token_shows_the_write_though_the_replay_stands_still"

MUTANTS = [
    Mutant(
        "a token is not waited for",
        "app/db/replica.py",
        "        if refused is None and after is not None and not self._reached(after):\n",
        "        if False:\n",
        SHOWN,
    ),
    Mutant(
        "every position counts as replayed",
        "app/db/replica.py",
        "        if self._replayed >= after:\n            return True\n",
        "        if self._replayed > 0:\n            return True\n",
        SHOWN,
    ),
    Mutant(
        "a write does not tell its position",
        "app/api/reading.py",
        "                answer.headers[HEADER] = position(wired.database)\n",
        '                answer.headers[HEADER] = "0/0"\n',
        SHOWN,
    ),
    Mutant(
        "what the replica lacks is not there",
        "app/services/read_source.py",
        '        if isinstance(fault, NotFound):\n            self._to_primary("not_found")\n        elif',
        "        if",
        SHOWN,
    ),
    Mutant(
        "the last word of a watch that hangs holds",
        "app/db/replica.py",
        '        return "lagging" if self._fresh.lag(time.monotonic()) > self._rules.max_lag_s else None\n',
        "        return None\n",
        f"{REPLICAS}::test_a_watch_that_hangs_leaves_no_last_word_standing",
    ),
    Mutant(
        "a read that the replica fails is an error",
        "app/services/read_source.py",
        '        elif isinstance(fault, Unavailable) and fault.part == "database":\n',
        "        elif False:\n",
        f"{REPLICAS}::test_a_killed_replica_costs_no_read_and_comes_back_by_itself",
    ),
    Mutant(
        "reads under way wait for a frozen replica",
        "app/db/replica.py",
        "                self._cut()\n",
        "",
        f"{REPLICAS}::test_a_replica_that_freezes_holds_no_request",
    ),
    Mutant(
        "the watch waits for a frozen replica",
        "app/db/replica.py",
        "            if not poll.poll(max(0.0, until - time.monotonic()) * 1000):\n",
        "            if not poll.poll():\n",
        f"{REPLICAS}::test_a_replica_that_freezes_holds_no_request",
    ),
    Mutant(
        "any PostgreSQL passes for a replica",
        "app/db/replica.py",
        "        if not follows or not in_recovery:\n",
        "        if not follows:\n",
        f"{REPLICAS}::test_only_a_replica_of_this_very_primary_is_used",
    ),
    Mutant(
        "the replica of another installation is used",
        "app/db/replica.py",
        "        if not follows or not in_recovery:\n",
        "        if not in_recovery:\n",
        f"{REPLICAS}::test_only_a_replica_of_this_very_primary_is_used",
    ),
    Mutant(
        "standing is read where rows are shown",
        "app/api/request_context.py",
        "    present = parts().standings.roles(token.tenant_id, token.user_id, token.session_id)\n",
        "    with parts().replica.database.tenant(token.tenant_id) as replica:\n"
        "        from app.db.users import present_roles\n"
        "        present = present_roles(replica, token.tenant_id, token.user_id, token.session_id)\n",
        f"{REPLICAS}::test_what_decides_is_read_from_the_primary",
    ),
    Mutant(
        "the last byte of a position does not matter",
        "app/domain/replication.py",
        "self._noted[0][1] <= replica:",
        "self._noted[0][1] <= replica + 1:",
        f"{FRESHNESS}::test_a_replica_is_as_old_as_the_last_position_it_has_passed",
    ),
    Mutant(
        "a replica that strayed is forgiven in time",
        "app/domain/replication.py",
        "        elif replica != self._strayed:\n",
        "        else:\n",
        f"{FRESHNESS}::test_a_replica_of_another_history_is_out_until_it_moves",
    ),
    Mutant(
        "the tag is that of the row",
        "app/api/etags.py",
        """ if version is None else f'{version[:-1]}.{_digest(content)}"'\n""",
        " if version is None else version\n",
        "tests/integration/api/test_step_reports.py::test_progress_is_part_of_a_step",
    ),
    Mutant(
        "an answer may be kept for another caller",
        "app/api/etags.py",
        '    answer.headers["Vary"] = "Authorization"\n',
        "",
        f"{CHANGES}::test_what_never_changes_may_be_kept",
    ),
    Mutant(
        "If-Match asks for the version alone",
        "app/api/etags.py",
        """_STRONG: Final = re.compile(r'"v([0-9]{1,9})(?:\\.[0-9a-f]{16})?"')\n""",
        """_STRONG: Final = re.compile(r'"v([0-9]{1,9})"')\n""",
        f"{CHANGES}::test_if_match_guards_a_user",
    ),
    Mutant(
        "the CLI forgets what it wrote",
        "app/client/http.py",
        "            self._http.headers[CONSISTENCY] = written\n            self._note(written)\n",
        "            self._note(written)\n",
        "tests/unit/client/test_client.py::test_reads_carry_the_token_of_the_last_write_of_whichever_command",
    ),
]
