"""The use of an identical step's result in place of a call."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from app.db import reuse
from app.db.engine import Database
from app.domain.leases import StepMessage
from app.domain.modules import OperationSpec
from app.services.flags import Switches
from workflows.decisions import StepInput
from workflows.definition import UNDO
from workflows.fingerprints import input_hash


@dataclass(frozen=True, slots=True)
class Reuse:
    """The look for a result of one attempt, with the offer of its own."""

    database: Database
    message: StepMessage
    tries: int
    hash: str
    ttl_s: float

    def find(self) -> reuse.Found | None:
        """Return an identical step's result; raises Unavailable."""
        return reuse.find(self.database, self.message, self.tries, self.hash, self.ttl_s)

    def offer(self) -> None:
        """Offer what this attempt computed to identical steps; raises Unavailable."""
        reuse.offer(self.database, self.message, self.tries, self.hash, self.ttl_s)


def reuse_of(
    database: Database,
    flags: Switches,
    message: StepMessage,
    claim: Any,
    operation: OperationSpec,
    given: StepInput,
) -> Reuse | None:
    """Return how a step may use a result again, None where it may not; that costs nothing.

    It may when its operation is cacheable, its workflow does not say `cache: false`, and no operator has
    asked for it anew: a retry means to do the work. Raises Unavailable.
    """
    ttl_s = operation.cacheable_s
    if ttl_s is None or claim.round > 0 or claim.definition.get("cache") is False:
        return None
    if message.key.startswith(UNDO):  # what undoes something is there for its effect
        return None
    if not flags.on("result_reuse", message.tenant_id):
        return None
    names = sorted(given.secrets)
    versions = reuse.secret_versions(database, message.tenant_id, names) if names else {}
    call = input_hash(operation.name, operation.version, given.values, versions)
    return Reuse(database, message, claim.tries, call, ttl_s)
