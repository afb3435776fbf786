"""What decides a flag: kill switch, override, share, default."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.flags import FLAGS, Decision, Flag, FlagRule, Why, decide

FLAG = Flag("bulk_actions", True, "")
TENANT = UUID(int=7)


@pytest.mark.parametrize(
    ("rule", "override", "decision"),
    [
        (FlagRule(), None, Decision(True, Why.DEFAULT)),
        (FlagRule(), False, Decision(False, Why.TARGETING_MATCH)),
        (FlagRule(percentage=0), None, Decision(False, Why.SPLIT)),
        (FlagRule(percentage=100), None, Decision(True, Why.SPLIT)),
        (FlagRule(percentage=0), True, Decision(True, Why.TARGETING_MATCH)),
        (FlagRule(killed=True, percentage=100), True, Decision(False, Why.DISABLED)),
    ],
)
def test_what_is_said_last_in_rank_decides(rule: FlagRule, override: bool | None, decision: Decision) -> None:
    assert decide(FLAG, rule, override, TENANT) == decision


@given(st.uuids(), st.floats(0, 100), st.floats(0, 100))
def test_a_growing_share_takes_nobody_out(tenant_id: UUID, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if decide(FLAG, FlagRule(percentage=low), None, tenant_id).on:
        assert decide(FLAG, FlagRule(percentage=high), None, tenant_id).on


def test_a_share_is_about_as_large_as_it_says_and_another_one_for_each_flag() -> None:
    tenants = [UUID(int=number) for number in range(4000)]
    rule = FlagRule(percentage=25)
    chosen = {
        name: {each for each in tenants if decide(flag, rule, None, each).on} for name, flag in FLAGS.items()
    }
    for found in chosen.values():
        assert 850 < len(found) < 1150
    assert len(set.intersection(*chosen.values())) < 200
