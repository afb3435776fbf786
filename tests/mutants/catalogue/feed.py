"""Breaks of the live feed."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

FEED = "app/services/live_feed.py"
UNIT = "tests/unit/feed/test_live_feed.py"
ENDS = "tests/unit/feed/test_stream_ends.py"
STREAM = "tests/integration/feed/test_stream.py"

MUTANTS = [
    Mutant(
        "a reader far behind skips to what is shared",
        FEED,
        "return Read(events, last if len(events) == page else max(last, low))",
        "return Read(events, max(last, low))",
        f"{UNIT}::test_every_reader_gets_every_event_of_its_tenant_once_in_order",
    ),
    Mutant(
        "a full page is taken for the whole",
        FEED,
        "shared.high = events[-1].position if len(events) == rules.page else newest",
        "shared.high = newest",
        f"{UNIT}::test_every_reader_gets_every_event_of_its_tenant_once_in_order",
    ),
    Mutant(
        "each reader loads the page again",
        FEED,
        "            if shared.high > behind:\n                return\n",
        "",
        f"{UNIT}::test_every_reader_gets_every_event_of_its_tenant_once_in_order",
    ),
    Mutant(
        "streams are not counted down",
        FEED,
        "        self._streams -= 1\n",
        "",
        f"{UNIT}::test_a_start_ahead_of_the_feed_is_refused_and_leaves_no_trace",
    ),
    Mutant(
        "a stream outlives its caller's right",
        "app/feed/application.py",
        'except (Unauthenticated, Forbidden):\n            return "revoked"',
        "except (Unauthenticated, Forbidden):\n            return None",
        f"{STREAM}::test_the_streams_of_a_closed_user_and_of_an_ended_session_end",
    ),
    Mutant(
        "a stalled client is waited for",
        "app/feed/stream.py",
        "async with asyncio.timeout(self.rules.patience_s):",
        "async with asyncio.timeout(None):",
        f"{ENDS}::test_a_client_that_takes_nothing_is_cut_off",
    ),
    Mutant(
        "a reader that stood before what is kept is not told",
        "app/services/live_feed.py",
        "floor if start and floor > start else None",
        "None",
        "tests/unit/feed/test_stream_ends.py::test_a_reader_whose_next_events_are_pruned_is_told_of_the_gap",
    ),
    Mutant(
        "a page of a rare type ends where it looked and says that it is the last",
        "app/db/reads.py",
        'looked = ahead["last"]',
        "looked = None",
        "tests/integration/api/test_event_pages.py::test_a_rare_type_is_looked_for_in_bounded_pages",
    ),
]
