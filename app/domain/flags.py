"""The feature flags of the platform, with the rule that decides one for a tenant."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

_BUCKETS: Final = 10_000
"""Hundredths of a per cent: as fine as a percentage may be."""


class Why(StrEnum):
    """What decided a flag, in the words of the OpenFeature specification."""

    DEFAULT = "DEFAULT"
    DISABLED = "DISABLED"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"


@dataclass(frozen=True, slots=True)
class Flag:
    """Something the platform can do without."""

    name: str
    default: bool
    description: str


@dataclass(frozen=True, slots=True)
class FlagRule:
    """What operators said of a flag; `killed` beats all, None leaves the default."""

    killed: bool = False
    percentage: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a flag is on, and what decided."""

    on: bool
    why: Why


FLAGS: Final[Mapping[str, Flag]] = {
    flag.name: flag
    for flag in (
        Flag("bulk_actions", True, "Begin bulk actions; those under way go on."),
        Flag("live_feed", True, "Open streams of the live feed; those that are open go on."),
        Flag("webhooks", True, "Deliver to webhooks; without it deliveries wait."),
        Flag("event_triggers", True, "Let triggers fire; without it what happens is not heard."),
        Flag("result_reuse", True, "Use the output of an identical step in place of a call."),
    )
}
"""Every flag there is: the code asks for these, operators set rules for these."""


def decide(flag: Flag, rule: FlagRule, override: bool | None, tenant_id: UUID) -> Decision:
    """Return whether a flag is on for a tenant: killed, else as said for the tenant, else by its share.

    A tenant keeps its place when a percentage grows, and has another place for each flag.
    """
    if rule.killed:
        return Decision(False, Why.DISABLED)
    if override is not None:
        return Decision(override, Why.TARGETING_MATCH)
    if rule.percentage is not None:
        return Decision(_bucket(flag.name, tenant_id) < rule.percentage * (_BUCKETS / 100), Why.SPLIT)
    return Decision(flag.default, Why.DEFAULT)


def _bucket(name: str, tenant_id: UUID) -> int:
    return int.from_bytes(hashlib.sha256(f"{name}:{tenant_id}".encode()).digest()[:8]) % _BUCKETS
