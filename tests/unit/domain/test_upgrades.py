"""Which revisions are applied when, which messages are given back."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.domain.leases import NewerProtocol, StepMessage
from app.domain.upgrades import OutOfOrder, Process, Revision, choose, who_needs

E2, E3 = Revision("0002", "expand", ""), Revision("0003", "expand", "")
C4, E5, C6 = (
    Revision("0004", "contract", ""),
    Revision("0005", "expand", ""),
    Revision("0006", "contract", ""),
)
IDS = (str(UUID(int=1)), str(UUID(int=2)), "a.3", 7)
MESSAGE = StepMessage(UUID(int=1), UUID(int=2), "a.3", 7)


def test_without_a_phase_it_is_all_that_the_release_needs() -> None:
    assert choose([E2, E3, C4], None, fresh=False) == (E2, E3)
    assert choose([C4, E5, C6], None, fresh=False) == (C4, E5), (
        "what an earlier release has left comes before"
    )
    assert choose([C6], None, fresh=False) == ()
    assert choose([], None, fresh=False) == ()


def test_a_phase_is_applied_as_far_as_the_order_allows() -> None:
    assert choose([E2, E3, C4], "expand", fresh=False) == (E2, E3)
    assert choose([C4], "expand", fresh=False) == ()
    assert choose([C4, C6], "contract", fresh=False) == (C4, C6)
    assert choose([C4, E5, C6], "contract", fresh=False) == (C4,)
    assert choose([], "contract", fresh=False) == ()


def test_a_revision_of_the_other_phase_in_between_is_told() -> None:
    with pytest.raises(OutOfOrder, match=r"0004 \(contract\).* comes before 0005"):
        choose([E3, C4, E5], "expand", fresh=False)
    with pytest.raises(OutOfOrder, match=r"0003 \(expand\).* comes before 0004"):
        choose([E3, C4], "contract", fresh=False)


@pytest.mark.parametrize("phase", ["expand", "contract", None])
def test_a_new_database_gets_all(phase: str | None) -> None:
    assert choose([E2, C4, E5, C6], phase, fresh=True) == (E2, C4, E5, C6)


def test_whoever_does_not_know_a_contract_may_use_what_it_takes() -> None:
    old, new = (Process(UUID(int=1), "api", "here", 1, "0", known) for known in ("0003", "0004"))
    assert who_needs(C4, [old, new]) == (old,)
    assert who_needs(C6, [old, new]) == (old, new)
    assert who_needs(E5, [old, new]) == ()


def test_a_message_of_this_protocol_carries_ids_at_most_with_its_lot() -> None:
    lot = UUID(int=3)
    assert StepMessage.of(IDS) == MESSAGE
    assert StepMessage.of((*IDS, str(lot))) == StepMessage(UUID(int=1), UUID(int=2), "a.3", 7, lot)
    with pytest.raises(ValueError, match="at least 4 arguments, not 3"):
        StepMessage.of(IDS[:3])


@pytest.mark.parametrize("more", [(None, 2), (str(UUID(int=3)), 3, "and what not")])
def test_a_message_of_a_newer_protocol_tells_whose_it_is(more: tuple[object, ...]) -> None:
    with pytest.raises(NewerProtocol, match=f"protocol {more[1]}, this release speaks 1") as newer:
        StepMessage.of((*IDS, *more))
    told = newer.value.message
    assert (told.tenant_id, told.run_id, told.key, told.epoch) == (UUID(int=1), UUID(int=2), "a.3", 7)
