"""What every sink of the relay promises, whichever server is behind it: a suite for a fixture `kit`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from app.domain.errors import Unavailable
from app.services.relay import Relay
from tests.support.outbox import A, B, OutboxRig
from tests.support.sinks.kits import Envelope, SinkKit

GAP = "io.quantum.relay.gap"


def rested(relay: Relay, turns: int = 60) -> None:
    """Take turns until nothing moves, nothing is refused, whatever fails between."""
    for _ in range(turns):
        if relay.turn() == (0, False):
            return
    raise AssertionError("the relay does not come to rest")


def by_subject(envelopes: list[Envelope]) -> dict[tuple[str, str], list[int]]:
    """Return the sequences of each tenant's subject in the order of first arrival, repeats left out."""
    found: dict[tuple[str, str], dict[int, None]] = defaultdict(dict)
    for one in envelopes:
        found[one["tenantid"], one["subject"]].setdefault(int(one["sequence"]))
    return {key: list(numbers) for key, numbers in found.items()}


def written(rig: OutboxRig) -> dict[tuple[str, str], list[int]]:
    """Return what the outbox holds, in the same form."""
    rows = rig.system("SELECT tenant_id, subject, seq FROM events ORDER BY tenant_id, subject, seq")
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for tenant, subject, seq in rows:
        found[str(tenant), subject].append(seq)
    return dict(found)


class SinkContract:
    """The promises; `kit` is one sink's."""

    @pytest.fixture
    def rig(self, outbox: OutboxRig) -> OutboxRig:
        return outbox

    def test_envelopes_arrive_whole_once_each_in_order_per_subject(
        self, rig: OutboxRig, kit: SinkKit
    ) -> None:
        for number in range(12):
            rig.emit(A, f"runs/{number}", 1, 4, {"n": number, "text": "ä€𝄞"})
        rig.emit(B, "runs/1", 1, 3)
        rested(rig.relay(sink=kit.sink()))
        found = kit.arrived()
        assert by_subject(found) == written(rig)
        assert len(found) == 12 * 4 + 3
        ids = {str(one) for (one,) in rig.system("SELECT id FROM events")}
        assert {one["id"] for one in found} == ids
        first = next(one for one in found if one["data"].get("n") == 7)
        assert (first["specversion"], first["type"], first["source"], first["data"]["text"]) == (
            "1.0",
            "io.quantum.run.started",
            f"/tenants/{A}",
            "ä€𝄞",
        )

    def test_an_event_too_large_leaves_a_marker_and_holds_up_nobody(
        self, rig: OutboxRig, kit: SinkKit
    ) -> None:
        rig.emit(A, "runs/1", 1, 1)
        rig.emit(A, "runs/1", 2, 2, {"text": "x" * 3000})
        rig.emit(A, "runs/1", 3, 3)
        rig.emit(B, "runs/1", 1, 1)
        rested(rig.relay(sink=kit.sink(event_bytes=2000)))
        found = kit.arrived()
        assert by_subject(found) == written(rig)
        (gap,) = [one for one in found if one["type"] == GAP]
        ((dead, reason),) = rig.system("SELECT event_id, error FROM dead_events")
        assert gap["data"]["missing"] == {"id": str(dead), "type": "io.quantum.run.started"}
        assert reason == "larger than 2000 bytes"

    def test_what_is_refused_is_given_up_while_others_go_on(self, rig: OutboxRig, kit: SinkKit) -> None:
        sink = kit.sink()
        relay = rig.relay(sink=sink, attempts=3)
        rested(relay)
        mend = kit.refuse(A, "io.quantum.run.started")
        rig.emit(A, "runs/1", 1, 2)
        rig.emit(B, "runs/1", 1, 2)
        assert relay.turn() == (2, True)
        assert relay.turn() == (0, True)
        assert rig.system("SELECT count(*) FROM dead_events") == [(0,)]
        rested(relay)
        assert [seq for (seq,) in rig.system("SELECT seq FROM dead_events ORDER BY seq")] == [1, 2]
        mend()
        rig.emit(A, "runs/1", 3, 3)
        rested(relay)
        found = by_subject([one for one in kit.arrived() if one["type"] != GAP])
        # Where one of several queues refuses, the others have it: repeats there, but never out of order.
        assert found[str(A), "runs/1"] in ([3], [1, 2, 3])
        assert found[str(B), "runs/1"] == [1, 2]

    def test_a_server_that_is_away_delays_events_and_loses_none(self, rig: OutboxRig, kit: SinkKit) -> None:
        relay = rig.relay(sink=kit.sink())
        rig.emit(A, "runs/1", 1, 5)
        rested(relay)
        mend = kit.breaks()
        rig.emit(A, "runs/1", 6, 9)
        try:
            with pytest.raises(Unavailable):
                relay.turn()
        finally:
            mend()
        rested(relay)
        assert by_subject(kit.arrived()) == written(rig)
        assert rig.system("SELECT count(*) FROM dead_events") == [(0,)]

    def test_an_answer_that_was_lost_costs_a_repeat_with_the_same_id(
        self, rig: OutboxRig, kit: SinkKit
    ) -> None:
        sink: Any = kit.sink()
        relay = rig.relay(sink=sink)
        rig.emit(A, "runs/1", 1, 3)
        publish = sink.publish

        def deaf(*args: Any) -> Any:
            sink.publish = publish
            publish(*args)
            raise Unavailable(sink.name)

        sink.publish = deaf
        with pytest.raises(Unavailable):
            relay.turn()
        rested(relay)
        found = kit.arrived()
        assert by_subject(found) == written(rig)
        assert len({one["id"] for one in found}) == 3
        assert len(found) == 6

    def test_a_dead_letter_is_buried_where_the_sink_keeps_them(self, rig: OutboxRig, kit: SinkKit) -> None:
        rig.emit(A, "runs/1", 1, 1, {"text": "x" * 3000})
        rested(rig.relay(sink=kit.sink(event_bytes=2000)))
        buried = kit.buried()
        if buried is not None:
            assert [one["subject"] for one in buried] == ["runs/1"]
