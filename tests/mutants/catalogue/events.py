"""Mutants of the relay, of the operations, of the secrets."""

from tests.mutants.mutant import Mutant

RELAY = "tests/integration/relay"
OPERATIONS = "tests/unit/operations"

MUTANTS = [
    Mutant(
        "a relay reads shards that another holds",
        "app/db/relay.py",
        "  WHERE sink = %(sink)s AND owner = %(owner)s AND lease_until > clock_timestamp() ORDER BY shard\n",
        "  WHERE sink = %(sink)s AND lease_until > clock_timestamp() ORDER BY shard\n",
        f"{RELAY}/test_delivery.py::test_two_relays_share_the_shards_and_neither_repeats_the_other",
    ),
    Mutant(
        "positions follow the clock, not the commit",
        "migrations/sql/0001_events.sql",
        "nextval('event_positions') AS position",
        "(extract(epoch FROM moment) * 1000000)::bigint AS position",
        f"{RELAY}/test_delivery.py::test_a_lower_id_that_commits_late_is_delivered",
    ),
    Mutant(
        "a cursor moves past what was refused",
        "app/services/relay.py",
        "still_open.update(one.event.id for one in left if not (one.dead and one in given_up))",
        "pass",
        f"{RELAY}/test_dead_letters.py::test_a_broken_stream_is_given_up_after_its_attempts_while_others_go_on",
    ),
    Mutant(
        "a flush is not noticed",
        "app/services/relay.py",
        "        if memory is NOTHING or shard.epoch == memory.epoch:\n",
        "        if memory is NOTHING or shard.epoch:\n",
        f"{RELAY}/test_forgetting.py::test_a_flushed_redis_is_noticed_though_nothing_new_happens",
    ),
    Mutant(
        "events are written without a look at the epoch",
        "app/messaging/streams.py",
        "if not marker or marker .. ':' .. run ~= ARGV[1] then return {-1, 'EPOCH'} end\n",
        "",
        f"{RELAY}/test_forgetting.py::test_a_flush_between_look_and_publish_loses_nothing",
    ),
    Mutant(
        "after a restart the relay trusts its own cursor",
        "app/db/relay.py",
        "    position = LEAST(position, COALESCE(:target,\n",
        "    position = COALESCE(position, COALESCE(:target,\n",
        f"{RELAY}/test_forgetting.py::test_after_a_restart_the_relay_goes_back_to_what_redis_remembers",
    ),
    Mutant(
        "a dead event leaves no gap marker",
        "app/domain/relay.py",
        "    if outgoing.dead:\n        return json.dumps(gap_marker(outgoing.event)).encode()\n",
        "",
        f"{RELAY}/test_dead_letters.py::test_an_event_too_large_leaves_a_gap_marker_and_holds_up_nobody",
    ),
    Mutant(
        "one sink's cursor is every sink's",
        "app/db/relay.py",
        "WHERE c.sink = %(sink)s AND c.owner = %(owner)s AND c.shard = m.shard",
        "WHERE c.owner = %(owner)s AND c.shard = m.shard",
        f"{RELAY}/test_process.py::test_a_sink_that_is_away_does_not_hold_the_others",
    ),
    Mutant(
        "a busy service makes dead letters",
        "app/messaging/event_hub.py",
        'tally.refused((*taken, *waiting), refusal.error or "refused", Blame.SINK)',
        'tally.refused((*taken, *waiting), refusal.error or "refused", Blame.EVENT)',
        f"{RELAY}/test_event_hub.py::test_faults_of_the_service_cost_nothing_but_repeats",
    ),
    Mutant(
        "what follows a refused event overtakes it",
        "app/messaging/event_hub.py",
        "        if item.lane in tally.faults:\n            continue\n",
        "",
        f"{RELAY}/test_event_hub.py::test_only_the_event_that_the_service_refuses_is_given_up",
    ),
    Mutant(
        "the emulator's flag is taken for any host",
        "app/sink_settings.py",
        '        return host == "localhost"\n',
        "        return bool(host)\n",
        "tests/unit/settings/test_settings.py::test_a_wrong_value_is_one_line_naming_the_variable",
    ),
    Mutant(
        "a wake-up cuts a back-off short",
        "app/db/wakeups.py",
        "            self._changed.wait_for(lambda: self._stopped, seconds)\n",
        "            self._changed.wait_for(lambda: self._stopped or self._rings > 0, seconds)\n",
        f"{RELAY}/test_wakeups.py::test_a_back_off_is_not_cut_short",
    ),
    Mutant(
        "a sink that a relay works on is forgotten",
        "app/db/sinks.py",
        "starts_with(name, 'relay/' || :sink || '/') AND until > clock_timestamp())",
        "starts_with(name, 'relay/' || :sink || '/') AND until < clock_timestamp())",
        f"{RELAY}/test_operations.py::test_a_sink_in_use_is_not_forgotten",
    ),
    Mutant(
        "a dead letter loses its event",
        "app/db/prune.py",
        "WHERE d.tenant_id = x.tenant_id AND d.subject = x.subject AND d.seq = x.seq)",
        "WHERE d.tenant_id = x.tenant_id AND d.subject = x.subject AND d.seq = x.seq + 1000)",
        f"{RELAY}/test_operations.py::test_dead_letters_are_listed_replayed_given_up_and_kept_until_then",
    ),
    Mutant(
        "an envelope does not name its schema",
        "app/domain/events.py",
        '            "dataschema": dataschema(self.type),\n',
        "",
        "tests/architecture/test_events.py::test_an_envelope_is_what_the_asyncapi_document_says",
    ),
    Mutant(
        "pruning does not wait for the slowest sink",
        "app/db/prune.py",
        "min(position) AS passed",
        "max(position) AS passed",
        f"{RELAY}/test_pruning.py::test_only_old_events_that_every_sink_passed_go",
    ),
    Mutant(
        "only the first address of a name is judged",
        "app/security/egress.py",
        "        for address in addresses:\n",
        "        for address in addresses[:1]:\n",
        f"{OPERATIONS}/test_egress.py::test_one_inner_address_among_public_ones_refuses_the_name",
    ),
    Mutant(
        "credentials follow a redirect to another origin",
        "tasks/operations/http.py",
        "if name.lower() in TRAVELLING_HEADERS}",
        "}",
        f"{OPERATIONS}/test_http.py::test_credentials_stay_with_their_origin",
    ),
    Mutant(
        "a digest follows a symbolic link",
        "tasks/operations/data.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        f"{OPERATIONS}/test_data.py::test_digest_equals_an_independent_count_and_reports_what_it_cannot_read",
    ),
    Mutant(
        "outputs are stored with their secrets",
        "app/services/resolve_secrets.py",
        "return mask_values(value, self.values.values())",
        "return value",
        "tests/integration/secrets/test_canary.py::test_a_secret_is_used_and_appears_nowhere",
    ),
    Mutant(
        "a number of an administrative event comes again behind a dead letter",
        "app/db/trail.py",
        "(SELECT greatest(max(seq),",
        "(SELECT coalesce(max(seq),",
        "tests/integration/db/test_trail.py"
        "::test_a_dead_letter_that_outlives_later_events_brings_none_of_their_numbers_back",
    ),
]
