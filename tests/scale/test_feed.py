"""Five hundred idle streams beside the API."""

from __future__ import annotations

import pytest

from bench.feed import EVENTS, STREAMS, measured

pytestmark = pytest.mark.scale

SLACK_S = 0.1
"""For a machine that is busy with something else in the second half."""


def test_idle_streams_do_not_slow_the_api_and_each_gets_every_event() -> None:
    found = measured()
    print(found)
    assert found.streams == STREAMS
    assert found.deliveries == STREAMS * EVENTS
    assert found.beside_s <= 3 * found.alone_s + SLACK_S
