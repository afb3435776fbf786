"""How the schema goes from release to release while processes of two releases work on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Final
from uuid import UUID

from app.domain.errors import QuantumError

EXPAND: Final = "expand"
CONTRACT: Final = "contract"
PHASES: Final = (EXPAND, CONTRACT)


@dataclass(frozen=True, slots=True)
class Revision:
    """One step of the schema: an expand keeps what the release before uses, a contract takes that away."""

    id: str
    phase: str
    title: str

    def __str__(self) -> str:
        return f"{self.id} ({self.phase}): {self.title}"


@dataclass(frozen=True, slots=True)
class Process:
    """A process of the platform; `revision` is the newest that its release knows.

    Whatever a later contract takes away it may still use. `needs` is the last expand of its release: it
    cannot work before.
    """

    boot: UUID
    kind: str
    host: str
    pid: int
    release: str
    revision: str
    needs: str = ""
    silent_s: float = 0.0
    """Since when it was not heard of."""

    def __str__(self) -> str:
        return (
            f"{self.kind} on {self.host} (process {self.pid}, release {self.release}, knows {self.revision},"
            f" heard of {self.silent_s:.0f} s ago)"
        )


class OutOfOrder(QuantumError):
    """A revision of the other phase has to be applied before."""

    default_code = "out_of_order"


class WrongRelease(QuantumError):
    """This release cannot work on the schema as it is."""

    default_code = "wrong_release"


class MigrationRefused(RuntimeError):
    """The schema is not migrated, nothing of the refused revision is done; the message says why."""


class SchemaDiffers(MigrationRefused):
    """The database was made by another text of a revision than this release has: it cannot be upgraded."""


class ReleaseTooOld(MigrationRefused):
    """The schema has left this release behind."""


class StillNeeded(MigrationRefused):
    """Processes of an older release work on what a contract takes away; `processes` are they."""

    def __init__(self, revision: Revision, processes: Sequence[Process]) -> None:
        self.revision = revision
        self.processes = tuple(processes)
        who = "".join(f"\n  {process}" for process in processes)
        super().__init__(f"{revision.id} takes away what these may still use:{who}")


def choose(pending: Sequence[Revision], phase: str | None, *, fresh: bool) -> tuple[Revision, ...]:
    """Return which of the pending revisions are applied now, in their order; raises OutOfOrder.

    A new database gets all of them: nobody uses it. Without a phase it is all that this release needs: up to
    its last expand, with the contracts of earlier releases before that. The contracts behind it wait to be
    asked for, as the release before cannot come back over them.
    """
    if fresh:
        return tuple(pending)
    if phase is None:
        expands = [at for at, one in enumerate(pending) if one.phase == EXPAND]
        return tuple(pending[: expands[-1] + 1]) if expands else ()
    now = tuple(takewhile(lambda one: one.phase == phase, pending))
    later = [one for one in pending[len(now) :] if one.phase == phase]
    if later and (phase == EXPAND or not now):
        first = pending[len(now)]
        raise OutOfOrder(f"{first} comes before {later[0]}")
    return now


def who_needs(revision: Revision, living: Sequence[Process]) -> tuple[Process, ...]:
    """Return the processes that may use what the revision takes away: their release does not know it."""
    return tuple(one for one in living if one.revision < revision.id) if revision.phase == CONTRACT else ()
