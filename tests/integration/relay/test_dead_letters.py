"""An event that its sink refuses each time is given up, seen to be missing."""

from __future__ import annotations

import json

from app.messaging.streams import stream_of
from tests.support.outbox import A, B


def drain(relay, turns=30):
    """Take turns until nothing moves, nothing is refused."""
    for _ in range(turns):
        if relay.turn() == (0, False):
            return
    raise AssertionError("the relay does not come to rest")


def test_an_event_too_large_leaves_a_gap_marker_and_holds_up_nobody(rig):
    rig.emit(A, "runs/1", 1, 1)
    rig.emit(A, "runs/1", 2, 2, {"text": "x" * 2000})
    rig.emit(A, "runs/1", 3, 3)
    rig.emit(B, "runs/1", 1, 1)
    drain(rig.relay(sink=rig.sink(event_bytes=1000)))
    found = rig.stream(A)
    assert [int(event["sequence"]) for event in found] == [1, 2, 3]
    ((dead_id, attempts),) = rig.system("SELECT event_id, attempts FROM dead_events")
    assert (found[1]["type"], found[1]["data"]["missing"]["id"]) == ("io.quantum.relay.gap", str(dead_id))
    (letter,) = rig.dead()
    assert (letter["id"], letter["tenant"], letter["attempts"]) == (str(dead_id), str(A), str(attempts))
    assert letter["reason"] == "larger than 1000 bytes"
    assert len(rig.stream(B)) == 1


def test_a_broken_stream_is_given_up_after_its_attempts_while_others_go_on(rig):
    rig.client.set(stream_of(A), "not a stream")
    rig.emit(A, "runs/1", 1, 3)
    rig.emit(B, "runs/1", 1, 3)
    relay = rig.relay(attempts=3)
    assert relay.turn() == (3, True)
    assert relay.turn() == (0, True)
    assert rig.system("SELECT count(*) FROM dead_events") == [(0,)]
    drain(relay)
    assert len(rig.stream(B)) == 3
    letters = rig.dead()
    assert [json.loads(letter["event"])["sequence"][-1] for letter in letters] == ["1", "2", "3"]
    assert letters[0]["attempts"] == "3"
    assert all("WRONGTYPE" in letter["reason"] for letter in letters)
    rig.client.delete(stream_of(A))
    rig.emit(A, "runs/1", 4, 4)
    drain(relay)
    assert rig.sequences(A) == {"runs/1": [4]}
