"""The operations of `core`."""

from __future__ import annotations

import pytest

from app.domain.errors import OperationFailed
from tasks.operations import core
from tests.support.operation_context import context


def test_echo_returns_any_value():
    assert core.echo(context(), message={"a": [None, 1]}) == {"message": {"a": [None, 1]}}


def test_wait_ends_early_when_the_run_is_cancelled():
    looks = iter([False, False, True])
    with pytest.raises(OperationFailed) as failure:
        core.wait(context(cancelled=lambda: next(looks)), seconds=3000)
    assert (failure.value.code, failure.value.retryable) == ("cancelled", False)
    assert core.wait(context(), seconds=0) == {"waited_s": 0}


def test_fail_until_succeeds_at_the_named_attempt():
    with pytest.raises(OperationFailed) as failure:
        core.fail_until(context(attempt=2), attempt=3)
    assert failure.value.retryable
    assert core.fail_until(context(attempt=3), attempt=3) == {"attempt": 3}


@pytest.mark.parametrize("value", [False, 1, "true", None])
def test_assert_accepts_nothing_but_true(value):
    with pytest.raises(OperationFailed, match="disk is full"):
        core.assert_condition(context(), condition=value, message="disk is full")
    assert core.assert_condition(context(), condition=True) == {"asserted": True}
