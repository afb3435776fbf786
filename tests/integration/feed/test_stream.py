"""Streams of a real process: what arrives, who may listen, what ends them."""

from __future__ import annotations

import urllib.error
import urllib.request
from itertools import count
from urllib.parse import urlsplit

import pytest

from app.runtime.ports import LOOPBACK
from tests.integration.feed.conftest import FeedRig
from tests.support.http_api import Caller
from tests.support.waiting import eventually

numbers = count(1)


@pytest.fixture(scope="module")
def caller(rig: FeedRig) -> Caller:
    return rig.platform.tenant()[1]


def subject() -> str:
    return f"runs/feed-{next(numbers)}"


def streams(rig: FeedRig) -> float:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{rig.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    [line] = [line for line in text.splitlines() if line.startswith("quantum_feed_streams ")]
    return float(line.split(" ")[1])


def test_events_arrive_in_order_as_they_are_committed(rig: FeedRig, caller: Caller) -> None:
    name = subject()
    with rig.listen(caller, f"?subject={name}") as stream:
        assert (stream.status, stream.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        for seq in range(1, 6):
            rig.emit(caller.tenant_id, name, seq)
        found = [stream.event() for _ in range(5)]
    assert [int(event["sequence"]) for event in found] == [1, 2, 3, 4, 5]
    assert [event["position"] for event in found] == sorted(event["position"] for event in found)
    assert found[0]["specversion"] == "1.0"


def test_a_reader_resumes_behind_the_last_id_and_misses_nothing(rig: FeedRig, caller: Caller) -> None:
    name = subject()
    with rig.listen(caller, f"?subject={name}") as stream:
        rig.emit(caller.tenant_id, name, 1)
        first = stream.event()
    for seq in range(2, 452):  # more than two pages
        rig.write(caller.tenant_id, name, seq)
    rig.number()
    with rig.listen(caller, f"?subject={name}", Last_Event_ID=str(first["position"])) as stream:
        assert [int(stream.event()["sequence"]) for _ in range(450)] == list(range(2, 452))
    with rig.listen(caller, f"?after=0&subject={name}", Last_Event_ID=str(first["position"])) as stream:
        assert int(stream.event()["sequence"]) == 2  # the header is the later word
    with rig.listen(caller, f"?after=0&subject={name}") as stream:
        assert int(stream.event()["sequence"]) == 1


def test_a_reader_that_stood_before_what_is_kept_is_told_so(rig: FeedRig) -> None:
    caller = rig.platform.tenant()[1]
    name = subject()
    for seq in (1, 2, 3):
        rig.emit(caller.tenant_id, name, seq)
    found = caller.get("/events", subject=name).get_json()
    read = [event["sequence"][-1] for event in found["items"]]
    assert (read, found["gap_upto"]) == (["1", "2", "3"], None)
    positions = rig.platform.parts.platform.call(
        "SELECT position FROM events WHERE subject = %s ORDER BY 1", (name,)
    )
    first, second = positions[0][0], positions[1][0]
    # As if the second was pruned: whoever read no further than the first will never see it.
    rig.platform.parts.platform.call("DELETE FROM events WHERE position = %s RETURNING 1", (second,))
    rig.platform.parts.platform.call(
        "INSERT INTO event_floors VALUES (%s, %s) RETURNING 1", (caller.tenant_id, second)
    )
    with rig.listen(caller, f"?subject={name}", Last_Event_ID=str(first)) as stream:
        told = stream.event()
        assert (told["name"], told["after"], told["upto"]) == ("gap", str(first), str(second))
        assert int(stream.event()["sequence"]) == 3
    with rig.listen(caller, f"?subject={name}", Last_Event_ID=str(second)) as stream:
        assert int(stream.event()["sequence"]) == 3
    assert [caller.get("/events", after=at).get_json()["gap_upto"] for at in (first, second)] == [
        second,
        None,
    ]


def test_filters_choose_by_type_family_and_subject(rig: FeedRig, caller: Caller) -> None:
    name = subject()
    with rig.listen(caller, f"?subject={name}&type=run.failed,step.*") as stream:
        for seq, kind in enumerate(("run.started", "step.failed", "run.failed", "step.retrying"), 1):
            rig.emit(caller.tenant_id, name, seq, kind)
        rig.emit(caller.tenant_id, subject(), 1, "run.failed")
        rig.emit(caller.tenant_id, name, 5, "run.failed")
        kinds = [stream.event()["type"].removeprefix("io.quantum.") for _ in range(4)]
    assert kinds == ["step.failed", "run.failed", "step.retrying", "run.failed"]


def test_no_tenant_hears_another(rig: FeedRig, caller: Caller) -> None:
    other = rig.platform.tenant()[1]
    name = subject()
    with rig.listen(other, f"?subject={name}") as stream:
        rig.emit(caller.tenant_id, name, 1)
        rig.emit(other.tenant_id, name, 1)
        heard = stream.event()
    assert heard["tenantid"] == other.tenant_id


@pytest.mark.parametrize(
    ("query", "headers", "status", "pointer"),
    [
        ("?type=run.nonsense", {}, 422, "/query/type"),
        ("?type=nonsense.*", {}, 422, "/query/type"),
        ("?color=red", {}, 422, "/query/color"),
        ("?after=-1", {}, 422, "/query/after"),
        ("?subject=a&subject=b", {}, 422, "/query/subject"),
        ("", {"Last_Event_ID": "last"}, 422, "/header/Last-Event-ID"),
        ("", {"Last_Event_ID": "9223372036854775807"}, 422, "/header/Last-Event-ID"),
        ("", {"Last_Event_ID": "9223372036854775808"}, 422, "/header/Last-Event-ID"),
    ],
)
def test_bad_input_is_told_before_a_stream_begins(
    rig: FeedRig, caller: Caller, query: str, headers: dict[str, str], status: int, pointer: str
) -> None:
    with rig.listen(caller, query, **headers) as stream:
        assert stream.status == status
        assert stream.headers["content-type"] == "application/problem+json"
        assert stream.problem()["errors"][0]["pointer"] == pointer


def test_only_callers_with_a_good_token_and_the_permission_listen(rig: FeedRig, caller: Caller) -> None:
    for token in (None, "nonsense", f"{caller.token}x"):
        with rig.listen(Caller(rig.platform.app, token)) as stream:
            assert (stream.status, stream.problem()["type"]) == (401, "urn:quantum:problem:unauthenticated")
            assert stream.headers["www-authenticate"] == "Bearer"
    keeper = rig.platform.member("platform", rig.platform.root, "platform_admin")
    with rig.listen(keeper) as stream:
        assert (stream.status, stream.problem()["type"]) == (403, "urn:quantum:problem:forbidden")


def test_the_streams_of_a_closed_user_and_of_an_ended_session_end(rig: FeedRig) -> None:
    slug, admin = rig.platform.tenant()
    viewer, leaver = (rig.platform.member(slug, admin, "viewer") for _ in range(2))
    with rig.listen(viewer) as stream, rig.listen(leaver) as left:
        assert (stream.status, left.status) == (200, 200)
        leaver.post("/auth/revoke", {"refresh_token": leaver.refresh_token})
        user_id = viewer.get("/me").get_json()["user_id"]
        tag = admin.get(f"/users/{user_id}").headers["ETag"]
        closed = admin.patch(f"/users/{user_id}", {"state": "disabled"}, If_Match=tag)
        assert closed.status_code == 200, closed.text
        for ended in (stream, left):
            assert ended.frame()["retry"] == "2000"
            assert ended.frame() == {"event": "end", "data": '{"reason": "revoked"}'}
            assert ended.frame() == {}


def test_a_client_that_leaves_is_forgotten(rig: FeedRig, caller: Caller) -> None:
    eventually(lambda: streams(rig) == 0, within=20, what="earlier streams are gone")
    name = subject()
    readers = [rig.listen(caller, f"?subject={name}") for _ in range(20)]
    eventually(lambda: streams(rig) == 20, within=20, what="all are open")
    for reader in readers[:10]:
        reader.close()
    eventually(lambda: streams(rig) == 10, within=20, what="those that left are forgotten")
    rig.emit(caller.tenant_id, name, 1)
    assert {reader.event()["subject"] for reader in readers[10:]} == {name}
    for reader in readers[10:]:
        reader.close()
    eventually(lambda: streams(rig) == 0, within=20, what="all are forgotten")


def test_the_api_sends_readers_to_the_feed(rig: FeedRig, caller: Caller) -> None:
    answer = caller.get("/events/stream", type="run.failed", after=7)
    assert answer.status_code == 307
    place = urlsplit(answer.headers["Location"])
    assert (place.path, place.query) == ("/api/v1/events/stream", "after=7&type=run.failed")
    assert f"{place.scheme}://{place.netloc}" == rig.settings.feed_url
    assert rig.platform.anonymous().get("/events/stream").status_code == 401


def test_other_paths_and_methods_are_refused(rig: FeedRig) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{LOOPBACK}:{rig.port}/elsewhere", timeout=5)
    assert refused.value.code == 404
    asked = urllib.request.Request(f"http://{LOOPBACK}:{rig.port}/api/v1/events/stream", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(asked, timeout=5)
    assert (refused.value.code, refused.value.headers["Allow"]) == (405, "GET")
