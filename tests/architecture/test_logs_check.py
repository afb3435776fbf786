"""The check of log lines tells a name that is made up at run time, passes constants."""

from __future__ import annotations

import pytest

from checks import logs

FAULTY = (
    'log.info(f"step_{name}")',
    'log.info("step " + name)',
    'log.info("step %s failed", name)',
    'log.info("Step failed")',
    "log.warning(name)",
    'log.error("a_b" if x else name)',
)
SOUND = (
    ('log.info("step_failed", run_id=run)', ["step_failed"]),
    ('log.exception("pruned", extra={"job": job})', ["pruned"]),
    ('log.warning("a_b" if x else "c_d")', ["a_b", "c_d"]),
    ('context.log.info(f"the operation\'s own {words}")', []),
)


@pytest.mark.parametrize("line", FAULTY)
def test_an_event_that_is_no_constant_is_told(line: str) -> None:
    _, faults = logs.read("app/x.py", line)
    assert [fault.line for fault in faults] == [1]


@pytest.mark.parametrize(("line", "events"), SOUND)
def test_constants_are_listed_with_level_and_module(line: str, events: list[str]) -> None:
    found, faults = logs.read("app/services/x.py", line)
    assert ([one.event for one in found], faults) == (events, [])
    assert {one.module for one in found} <= {"app.services.x"}


def test_the_page_lists_what_the_code_logs() -> None:
    assert logs.main([]) == 0
