"""Breaks of key rotation, of backups, of the log beside them."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

BOX = "tests/unit/security/test_secret_box.py"
NOTES = "tests/integration/db/test_backup_notes.py"
ARTIFACTS = "tests/integration/artifacts/test_verification.py"
LOG = "tests/integration/runtime/test_wal_archive.py"
SCRIPT = "tests/unit/runtime/test_restoring.py"
KEYS = "tests/integration/api/test_keys.py"

MUTANTS = [
    Mutant(
        "an older key goes on sealing",
        "app/security/key_ring.py",
        "        return self.keys[0]\n",
        "        return self.keys[-1]\n",
        f"{BOX}::test_a_key_wrapped_anew_opens_what_it_sealed_before",
    ),
    Mutant(
        "a missing key is taken for the newest",
        "app/security/key_ring.py",
        "        raise KeyMissing(wanted, self.ids)\n",
        "        return self.newest\n",
        f"{BOX}::test_a_key_that_is_not_there_is_named",
    ),
    Mutant(
        "a rewrap overwrites a key that changed meanwhile",
        "app/db/secrets.py",
        '                " WHERE tenant_id = :tenant AND kek_id = :old_id AND wrapped_key = :old_key"\n',
        '                " WHERE tenant_id = :tenant AND :old_id <>  AND :old_key <> "\n',
        f"{KEYS}::test_a_key_that_changed_meanwhile_is_left_alone",
    ),
    Mutant(
        "a key at hand is given up",
        "app/services/manage_keys.py",
        "    if key_id in box.ring.ids:\n",
        "    if key_id == box.ring.newest_id:\n",
        f"{KEYS}::test_an_older_key_at_hand_is_not_given_up",
    ),
    Mutant(
        "seals under an older key are taken on trust",
        "app/security/audit_chain.py",
        "        kek = self.ring.key(key_id)\n",
        "        kek = self.ring.newest\n",
        "tests/integration/db/test_audit_chain.py::test_a_chain_goes_on_under_a_newer_key_and_holds_across",
    ),
    Mutant(
        "two processes make a backup at once",
        "app/db/backups.py",
        "  WHERE leases.owner = excluded.owner OR leases.until < clock_timestamp()\n",
        "",
        f"{NOTES}::test_one_of_many_takes_the_lease",
    ),
    Mutant(
        "a backup that failed is tried again at once",
        "app/domain/backups.py",
        "    return standing.tried is None or (now - standing.tried).total_seconds() >= RETRY_S\n",
        "    return True\n",
        "tests/unit/domain/test_backups.py::test_due",
    ),
    Mutant(
        "a backup that nobody has proved counts as young",
        "app/db/gauges.py",
        "max(begun_at) FILTER (WHERE verified_at IS NOT NULL)",
        "max(begun_at)",
        f"{NOTES}::test_the_age_is_that_of_the_latest_verified_one",
    ),
    Mutant(
        "an artifact is there, whatever its size",
        "app/services/verify_artifacts.py",
        "    if found != size:\n",
        "    if found > size:\n",
        f"{ARTIFACTS}::test_what_the_store_has_lost_is_named",
    ),
    Mutant(
        "what an emptied platform does not know counts as collected",
        "app/db/artifacts.py",
        "  JOIN tenants t ON t.id = l.tenant_id\n",
        "",
        f"{ARTIFACTS}::test_nothing_counts_as_collected_by_a_platform_that_knows_no_such_tenant",
    ),
    Mutant(
        "a restore does not see who uses the database",
        "app/runtime/backup.py",
        "    if found:\n",
        "    if not found:\n",
        "tests/integration/runtime/test_backup.py::test_the_drill_with_backups_in_a_container",
    ),
    Mutant(
        "an older server is told settings that it does not know",
        "app/runtime/restoring.py",
        " and found[1].decode() not in known:\n",
        " and not known:\n",
        f"{SCRIPT}::test_settings_that_the_server_does_not_know_are_left_out_at_the_head_only",
    ),
    Mutant(
        "lines of a function are taken for settings",
        "app/runtime/restoring.py",
        "        elif head and (found := _SET",
        "        elif (found := _SET",
        f"{SCRIPT}::test_settings_that_the_server_does_not_know_are_left_out_at_the_head_only",
    ),
    Mutant(
        "rows that look like statements are changed",
        "app/runtime/restoring.py",
        "            data = True\n",
        "            data = False\n",
        f"{SCRIPT}::test_what_a_server_keeps_among_the_options_of_a_column_is_left_out",
    ),
    Mutant(
        "a restore that breaks leaves what it had done",
        "app/runtime/restoring.py",
        '            player.take(b"BEGIN;\\n")\n',
        "",
        "tests/integration/runtime/test_backup.py::test_what_breaks_at_its_very_end_leaves_nothing",
    ),
    Mutant(
        "a recovery begins with a base backup that had not ended",
        "app/runtime/point_in_time.py",
        "if made.kind == BASE and datetime.fromisoformat(made.ended_at) <= at]",
        "if made.kind == BASE]",
        f"{LOG}::test_a_recovery_begins_with_the_latest_base_that_had_ended",
    ),
    Mutant(
        "segments that a recovery needs are forgotten",
        "app/runtime/wal_archive.py",
        "== len(first) and segment < first\n",
        "== len(first) and segment <= first\n",
        f"{LOG}::test_whole_segments_are_sealed_and_come_back_across_a_change_of_keys",
    ),
    Mutant(
        "a slot that the server gave up is received from for ever",
        "app/runtime/wal_archive.py",
        '        if found is not None and found.state != "lost":\n            self._begins',
        "        if found is not None:\n            self._begins",
        f"{LOG}::test_a_slot_that_the_server_gave_up_is_made_anew_and_what_was_received_stays",
    ),
    Mutant(
        "what an unfinished segment had is lost with its slot",
        "app/runtime/wal_archive.py",
        "            path.rename(path.with_name(path.name.removesuffix(PARTIAL)))\n",
        "            path.unlink()\n",
        f"{LOG}::test_a_slot_that_the_server_gave_up_is_made_anew_and_what_was_received_stays",
    ),
    Mutant(
        "an old copy of a segment hides the rest of it",
        "app/runtime/wal_archive.py",
        "        if COMPLETE.fullmatch(segment) and segment not in whole:\n",
        "        if COMPLETE.fullmatch(segment) and not (into / segment).exists():\n",
        f"{LOG}::test_the_unfinished_segment_is_copied_to_where_it_outlives_the_machine",
    ),
    Mutant(
        "a base backup of before a gap is enough",
        "app/domain/backups.py",
        "standing.based is not None and standing.based >= standing.log_since\n",
        "standing.based is not None\n",
        "tests/unit/domain/test_backups.py::test_a_base_backup_is_due",
    ),
    Mutant(
        "a base backup counts as the dump of the day",
        "app/db/backups.py",
        "FILTER (WHERE kind = 'dump' AND verified_at IS NOT NULL)",
        "FILTER (WHERE verified_at IS NOT NULL)",
        f"{NOTES}::test_base_backups_have_an_age_of_their_own_once_the_log_is_received",
    ),
    Mutant(
        "what breaks while it is written is kept",
        "app/runtime/backup_store.py",
        "            draft.unlink(missing_ok=True)\n            raise\n",
        "            draft.rename(place)\n            raise\n",
        "tests/integration/runtime/test_backup_store.py"
        "::test_what_breaks_while_it_is_written_leaves_what_was_there",
    ),
    Mutant(
        "what never became a backup stays for ever",
        "app/runtime/backup_files.py",
        "_begun(stem) < now - timedelta(days=1):",
        "_begun(stem) < now - timedelta(days=999):",
        "tests/integration/runtime/test_backup_store.py::test_what_never_became_a_backup_goes_after_a_day",
    ),
]
