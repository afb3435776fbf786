"""How many of each thing a tenant may keep, unless the platform's operators say otherwise for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

USUAL: Final[Mapping[str, int]] = MappingProxyType(
    {
        "users": 10_000,
        "secrets": 1_000,
        "modules": 1_000,
        "workflows": 5_000,
        "intent_types": 5_000,
        "schedules": 10_000,
        "planned_firings": 100_000,
        "webhooks": 50,
        "triggers": 200,
        "bulk_actions": 100,
    }
)
"""By kind. Of modules, workflows, intent types each version counts; of firings those that a back-fill planned
but nobody started yet; of bulk actions those that have not ended."""

MOST_SESSIONS: Final = 1_000
"""Of one user: a sign-in beyond that ends the one that was unused longest."""


@dataclass(frozen=True, slots=True)
class CapUse:
    """What a tenant may keep of a kind, what it would be without a word of the operators, what it keeps."""

    most: int
    usual: int
    in_use: int
