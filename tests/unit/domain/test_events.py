"""An envelope as text is the envelope, whichever way its data came."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from app.domain.events import Event, Json
from app.domain.relay import Outgoing, body_of

MOMENT = datetime(2030, 1, 31, 12, 30, 1, 500, tzinfo=UTC)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
EVENT = Event(UUID(int=1), UUID(int=2), "runs/1", 7, "io.quantum.run.started", {}, None, MOMENT, 9)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(documents, st.text(min_size=1), st.booleans())
def test_the_text_of_an_envelope_says_the_same(data: Any, name: str, traced: bool) -> None:
    event = replace(EVENT, data=data, subject=f"intents/{name}", trace=TRACE if traced else None)
    wanted = event.cloud_event()
    assert ("traceparent" in wanted) == traced
    assert json.loads(event.cloud_event_text()) == wanted
    written = replace(event, data=Json(json.dumps(data, ensure_ascii=False)))
    assert written.cloud_event() == wanted
    assert json.loads(written.cloud_event_text()) == wanted
    assert json.loads(body_of(Outgoing(written, 0, False))) == wanted


def test_data_that_came_as_text_goes_out_as_it_came() -> None:
    written = replace(EVENT, data=Json('{"code" : 1.50}'))
    assert '"data": {"code" : 1.50}' in written.cloud_event_text()


def test_a_dead_event_goes_out_as_its_gap() -> None:
    gap = json.loads(body_of(Outgoing(replace(EVENT, data=Json("{}")), 0, True)))
    assert (gap["type"], gap["sequence"]) == ("io.quantum.relay.gap", "0000000007")
    assert gap["data"] == {"missing": {"id": str(UUID(int=1)), "type": "io.quantum.run.started"}}
