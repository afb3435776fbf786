"""Mutants of the consumers, of what lets the relay keep up."""

from tests.mutants.mutant import Mutant

CONSUMERS = "tests/integration/consumers"

MUTANTS = [
    Mutant(
        "entries that an older server has trimmed end the consumer",
        "app/consumers/streams.py",
        "cursor, entries = answer[0], [one for one in answer[1] if one[0] is not None]",
        "cursor, entries = answer[0], answer[1]",
        "tests/unit/consumers/test_streams.py::test_entries_that_an_older_server_has_trimmed_stop_nobody",
    ),
    Mutant(
        "a repeat is handled again",
        "app/db/inbox.py",
        "        return bool(cursor.rowcount == 1)\n",
        "        return True\n",
        f"{CONSUMERS}/test_streams.py::test_killed_between_handling_and_acknowledging_each_event_is_handled_once",
    ),
    Mutant(
        "the inbox commits before the handler",
        "app/db/inbox.py",
        "            handle(cursor, event)\n",
        "            self._connection.commit()\n            handle(cursor, event)\n",
        f"{CONSUMERS}/test_inbox.py::test_a_handler_that_fails_leaves_neither_its_work_nor_the_note",
    ),
    Mutant(
        "consumers share their notes",
        "app/db/inbox.py",
        "        values = (self._consumer, str(event",
        "        values = ('', str(event",
        f"{CONSUMERS}/test_inbox.py::test_consumers_that_share_a_table_have_an_inbox_each",
    ),
    Mutant(
        "old notes are kept for ever",
        "app/db/inbox.py",
        "                found = int(cursor.rowcount)\n",
        "                found, _ = 0, self._connection.rollback()\n",
        f"{CONSUMERS}/test_inbox.py::test_notes_are_forgotten_by_age_but_parked_events_stay",
    ),
    Mutant(
        "a database that is away is the event's fault",
        "app/consumers/handling.py",
        "                waits += 1\n",
        "                waits += 1\n                failures += 1\n                if failures >= 3:\n"
        "                    return\n",
        "tests/unit/consumers/test_handling.py"
        "::test_a_database_that_is_away_is_waited_for_as_long_as_that_lasts",
    ),
    Mutant(
        "two members read one stream",
        "app/consumers/streams.py",
        "elseif not owner or ends < now then",
        "else",
        f"{CONSUMERS}/test_streams.py::test_a_stream_has_one_reader_and_goes_to_another_when_that_leaves",
    ),
    Mutant(
        "what a dead member had read is forgotten",
        "app/consumers/streams.py",
        "            taken += self._handled(stream, entries)\n",
        "",
        f"{CONSUMERS}/test_streams.py::test_what_a_dead_member_had_read_comes_before_what_is_new",
    ),
    Mutant(
        "a flushed server is not noticed",
        "app/consumers/streams.py",
        "            self._ready.clear()  # the server was flushed: the groups are made anew\n",
        "",
        f"{CONSUMERS}/test_streams.py::test_after_a_flush_the_group_is_made_anew_and_repeats_are_dropped",
    ),
    Mutant(
        "a checkpoint of an older hub is gone on from",
        "app/consumers/checkpoints.py",
        "            if sequence > last:\n",
        "            if sequence < -1:\n",
        f"{CONSUMERS}/test_hubs.py::test_a_checkpoint_is_gone_on_from_and_one_of_an_older_hub_is_left_out",
    ),
    Mutant(
        "silence is taken for rest",
        "app/consumers/silence.py",
        "            if sequence <= self._seen.get(partition, -1):\n",
        "            if True:\n",
        "tests/unit/consumers/test_silence.py::test_events_that_wait_too_long_tell_of_silence",
    ),
    Mutant(
        "rest is taken for silence",
        "app/consumers/silence.py",
        "            if sequence <= self._seen.get(partition, -1):\n",
        "            if False:\n",
        "tests/unit/consumers/test_silence.py::test_nothing_to_read_is_no_silence_however_long_it_lasts",
    ),
    Mutant(
        "what was read ahead is used wherever the cursors stand",
        "app/services/lookahead.py",
        "        return events if shards == self._wanted else ()\n",
        "        return events\n",
        "tests/unit/engine/test_lookahead.py::test_other_positions_epochs_or_shards_get_nothing_of_it",
    ),
    Mutant(
        "a relay takes more than its sink can within the lease",
        "app/services/relay.py",
        "            self._batch = max(self._batch // 2, self.rules.batch_least)\n",
        "            pass\n",
        "tests/unit/engine/test_relay_pace.py::test_a_sink_slower_than_the_lease_gets_smaller_batches",
    ),
    Mutant(
        "numbers are given above a hole",
        "migrations/sql/0001_events.sql",
        "AND p.seq < o.first AND coalesce(p.position, 0) > 0",
        "AND p.seq < o.first",
        "tests/integration/relay/test_delivery.py::test_a_subject_keeps_its_order_though_the_clock_stepped_back",
    ),
    Mutant(
        "the text of an envelope leaves the trace out",
        "app/domain/events.py",
        'return (\n            f\'{{{traced}"specversion"',
        'return (\n            f\'{{"specversion"',
        "tests/unit/domain/test_events.py::test_the_text_of_an_envelope_says_the_same",
    ),
]
