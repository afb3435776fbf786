"""Requests that are counted ahead: as many as a tenant uses, for a second."""

from __future__ import annotations

from app.api.limits import Lease


def test_what_was_counted_ahead_is_lost_after_a_second() -> None:
    lease = Lease(left=2, size=2, until=10.0)
    assert lease.take(9.9)
    assert not lease.take(10.0)
    assert lease.left == 1


def test_a_busy_tenant_is_counted_further_ahead_up_to_a_bound() -> None:
    lease, sizes, now = Lease(), [], 0.0
    for _ in range(5):
        sizes.append(lease.next_size(now, 8))
        lease.left, lease.until = 0, now + 1.0
        now += 0.1
    assert sizes == [1, 2, 4, 8, 8]
    assert lease.next_size(now + 5, 8) == 1
