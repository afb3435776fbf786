"""Breaks of webhooks, of triggers."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

SQL = "migrations/sql/0001_webhooks.sql"
DELIVERY = "tests/integration/webhooks/test_delivery.py"
TRIGGERS = "tests/integration/api/test_triggers.py"
FIRE = "app/services/fire_triggers.py"
FAILURES = "tests/integration/webhooks/test_failures.py"

ATTEMPT = "tests/unit/webhooks/test_attempt.py"

MUTANTS = [
    Mutant(
        "who has a network of addresses may guess without a limit",
        "app/api/hooks.py",
        "source_of(request.remote_addr)",
        'request.remote_addr or ""',
        f"{TRIGGERS}::test_the_addresses_of_one_network_are_one_sender",
    ),
    Mutant(
        "a lease that never came to hand is renewed for ever",
        SQL,
        "WHERE q.tenant_id = h.tenant_id AND q.webhook_id = h.webhook_id AND q.lease_owner = p_owner",
        "WHERE q.lease_owner = p_owner",
        f"{DELIVERY}::test_a_lease_that_never_came_to_hand_runs_out",
    ),
    Mutant(
        "outcomes of one webhook that cannot be written end the process of all",
        "app/services/deliver_webhooks.py",
        "            except Exception:\n                # The others' outcomes",
        "            except OSError:\n                # The others' outcomes",
        f"{DELIVERY}::test_outcomes_that_cannot_be_written_keep_no_other_webhook_waiting",
    ),
    Mutant(
        "a pause beyond the calendar lets an event come again at once, for ever",
        "app/services/webhook_attempt.py",
        "except (ValueError, OverflowError):",
        "except ValueError:",
        f"{ATTEMPT}::test_a_pause_beyond_the_calendar_is_none",
    ),
    Mutant(
        "an attempt that nobody foresaw is not counted",
        "app/services/webhook_attempt.py",
        "        except Exception as fault:\n",
        "        except OSError as fault:\n",
        f"{ATTEMPT}::test_what_nobody_foresaw_is_a_failed_attempt",
    ),
    Mutant(
        "a path beyond ASCII cannot be asked for",
        "app/security/egress.py",
        'path = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=punctuation)',
        'path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")',
        f"{ATTEMPT}::test_a_path_travels_as_ascii",
    ),
    Mutant(
        "later events of a subject do not wait for an earlier one",
        "app/services/deliver_webhooks.py",
        "if not answer.succeeded or queue.closing:",
        "if queue.closing:",
        f"{DELIVERY}::test_later_events_of_a_subject_wait_while_an_earlier_one_is_tried_again",
    ),
    Mutant(
        "an old secret does not sign during the overlap",
        "app/db/signing_secrets.py",
        "(expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY id DESC",
        "expires_at IS NULL ORDER BY id DESC",
        f"{FAILURES}::test_both_secrets_sign_during_the_overlap",
    ),
    Mutant(
        "an endpoint that is down is asked on and on",
        "app/domain/breakers.py",
        "failed.failures < rules.failures:",
        "failed.failures < 1000 * rules.failures:",
        f"{FAILURES}::test_the_breaker_opens_asks_once_closes",
    ),
    Mutant(
        "a tenant may take all threads",
        "app/services/webhook_queue.py",
        "return busy < self._rules.of_tenant and",
        "return busy < self._rules.threads and",
        f"{DELIVERY}::test_a_slow_endpoint_holds_nobody_else",
    ),
    Mutant(
        "a target is judged by its first address only",
        "app/security/egress.py",
        "        for address in addresses:\n            if reason",
        "        for address in addresses[:1]:\n            if reason",
        f"{FAILURES}::test_a_name_that_turns_inward_is_refused_at_delivery",
    ),
    Mutant(
        "an answer cut off at the deadline counts",
        "app/messaging/webhook_post.py",
        "        if not in_time:\n",
        "        if False:\n",
        f"{FAILURES}::test_a_receiver_that_drips_is_hung_up",
    ),
    Mutant(
        "a receiver that is gone is asked again",
        "app/services/deliver_webhooks.py",
        "        if any(result.answer.gone for result in results):\n",
        "        if False:\n",
        f"{FAILURES}::test_gone_disables_and_keeps_what_waits",
    ),
    Mutant(
        "answers are logged with the secret in them",
        "app/services/webhook_attempt.py",
        "mask_values(shown, [*secrets, *keys])",
        "mask_values(shown, ())",
        f"{FAILURES}::test_no_secret_stands_in_the_clear",
    ),
    Mutant(
        "the key of a secret passes for something else",
        "app/services/webhook_attempt.py",
        "mask_values(shown, [*secrets, *keys])",
        "mask_values(shown, secrets)",
        f"{FAILURES}::test_no_secret_stands_in_the_clear",
    ),
    Mutant(
        "a replayed event waits behind later ones",
        SQL,
        "  PERFORM put_in_order(p_tenant, p_webhook, subjects);\n  RETURN renewed;",
        "  RETURN renewed;",
        f"{FAILURES}::test_a_replayed_earlier_event_goes_before_those_that_wait",
    ),
    Mutant(
        "a suspended tenant is told",
        SQL,
        "t.id = x.tenant_id AND t.state = 'active')",
        "t.id = x.tenant_id)",
        f"{DELIVERY}::test_what_is_deleted_disabled_or_of_a_suspended_tenant_is_not_told",
    ),
    Mutant(
        "labels of the intent are not asked for",
        SQL,
        " AND labels_fit(e.tenant_id, e.subject, w.labels)\n      ON CONFLICT",
        "\n      ON CONFLICT",
        f"{DELIVERY}::test_filters_let_through_types_and_labels_of_the_intent",
    ),
    Mutant(
        "a trigger decides an event twice",
        FIRE,
        'if (row["id"], heard.id) not in done]',
        "]",
        f"{TRIGGERS}::test_two_beats_and_a_cursor_set_back_fire_once",
    ),
    Mutant(
        "the firing is written after the commit of the intent",
        FIRE,
        "        if firings:\n            store.note(",
        "        connection.commit()\n        if firings:\n            store.note(",
        f"{TRIGGERS}::test_dying_between_declaring_and_noting_leaves_neither",
    ),
    Mutant(
        "a trigger that fires itself goes on",
        FIRE,
        "if heard.depth >= MAX_DEPTH or",
        "if heard.depth >= 100 * MAX_DEPTH or",
        f"{TRIGGERS}::test_a_trigger_that_fires_itself_is_stopped",
    ),
    Mutant(
        "what one transaction decides is not counted to its chain",
        FIRE,
        "            chains[heard.root] += 1\n",
        "",
        f"{TRIGGERS}::test_a_tree_of_firings_is_cut_by_its_width",
    ),
    Mutant(
        "a chain is counted anew at each of its links",
        "app/domain/triggers.py",
        "return self.id if self.origin is None else self.origin",
        "return self.id",
        f"{TRIGGERS}::test_a_tree_of_firings_is_cut_by_its_width",
    ),
    Mutant(
        "one bad event keeps all others from being heard",
        FIRE,
        "            for one in some:\n                _fire_alone(deps, tenant_id, one)",
        "            raise",
        f"{TRIGGERS}::test_what_is_refused_is_told_and_holds_nobody",
    ),
    Mutant(
        "a message is taken however old it is",
        "app/security/webhook_signature.py",
        "if abs(now - int(stamp)) > TOLERANCE_S:",
        "if abs(now - int(stamp)) > 1000 * TOLERANCE_S:",
        f"{TRIGGERS}::test_every_refusal_of_a_sender_looks_the_same",
    ),
    Mutant(
        "a message that comes again starts again",
        "app/services/receive_hook.py",
        "        if known is not None:\n            return known",
        "        if known is not None:\n            message_id += '+'",
        f"{TRIGGERS}::test_a_signed_message_starts_an_intent_once",
    ),
    Mutant(
        "a paused trigger takes messages",
        "app/db/triggers.py",
        "t.source = 'inbound' AND t.state = 'active'",
        "t.source = 'inbound'",
        f"{TRIGGERS}::test_every_refusal_of_a_sender_looks_the_same",
    ),
    Mutant(
        "a filter that never gives true or false is declared",
        "workflows/event_rules.py",
        'if gives not in (None, "bool"):',
        "if False:",
        "tests/unit/workflows/test_event_rules.py::test_what_never_gives_true_or_false_is_refused",
    ),
    Mutant(
        "an endpoint that fails for days is asked on",
        "app/services/deliver_webhooks.py",
        "failing_s >= self.rules.disable_after_s:",
        "failing_s >= 1000 * self.rules.disable_after_s:",
        f"{FAILURES}::test_an_endpoint_that_fails_for_days_is_disabled_until_somebody_enables_it",
    ),
    Mutant(
        "an endpoint that is seldom asked is taken for one that is down",
        SQL,
        "OR q.failed_at < clock_timestamp() - interval '1 day')",
        ")",
        f"{FAILURES}::test_an_endpoint_that_fails_for_days_is_disabled_until_somebody_enables_it",
    ),
]
