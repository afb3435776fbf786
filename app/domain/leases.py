"""Who executes a step, named so that a death can be told from a pause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

IDS = 4
PROTOCOL = 1
"""What a worker speaks: its messages, claims, heartbeats. Counted up when workers of the release before
would not understand a message, or would claim what they must not.

A message of protocol 1 has no number. Those of later ones have more arguments, the sixth is the number; the
first four are tenant, run, step, dispatch epoch in all of them, so that whoever does not understand the rest
can give the step back."""


class NewerProtocol(Exception):
    """The message is of a protocol that this release does not speak; `message` is what all of them say."""

    def __init__(self, message: StepMessage, protocol: object) -> None:
        super().__init__(f"the message is of protocol {protocol}, this release speaks {PROTOCOL}")
        self.message = message
        self.protocol = protocol


@dataclass(frozen=True, slots=True)
class StepMessage:
    """All that a message says: which step of which run, in which dispatch, of which lot it may take more."""

    tenant_id: UUID
    run_id: UUID
    key: str
    epoch: int
    lot: UUID | None = None

    @classmethod
    def of(cls, args: Sequence[object]) -> StepMessage:
        """Read the arguments of a task; raises NewerProtocol, or ValueError when they are not ours."""
        if len(args) < IDS:
            raise ValueError(f"a step message has at least {IDS} arguments, not {len(args)}")
        tenant, run, key, epoch, *more = args
        lot = UUID(str(more[0])) if len(more) == 1 else None
        message = cls(UUID(str(tenant)), UUID(str(run)), str(key), int(str(epoch)), lot)
        if len(more) > 1:
            raise NewerProtocol(message, more[1])
        return message


@dataclass(frozen=True, slots=True)
class Lot:
    """Steps of a run that were dealt out to fewer messages than steps."""

    tenant_id: UUID
    run_id: UUID
    id: UUID


@dataclass(frozen=True, slots=True)
class Child:
    """One process of a worker's pool; `born` tells it from a later process of equal number."""

    pid: int
    born: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The owner of a claim: worker boot, pool process, and the worker's name for people."""

    boot: UUID
    child: Child
    worker: str


@dataclass(frozen=True, slots=True)
class HeldStep:
    """A step that a pool process executes."""

    tenant_id: UUID
    run_id: UUID
    key: str
    child: Child


@dataclass(frozen=True, slots=True)
class HeldClaim:
    """The claim `tries` of a step that a pool process holds."""

    tenant_id: UUID
    run_id: UUID
    key: str
    tries: int
    epoch: int
    child: Child


@dataclass(frozen=True, slots=True)
class RunRef:
    """A run and its tenant: what a cross-tenant job hands on, so that the work goes on as that tenant."""

    tenant_id: UUID
    run_id: UUID
