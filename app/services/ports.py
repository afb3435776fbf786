"""What the engine's services need from outside, as protocols plus the bundle that carries them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from app.db.engine import Database
from app.domain.leases import StepMessage
from app.domain.lost import BrokerView
from app.domain.modules import ModuleRegistry, Resources, StepLog
from app.services.artifacts import Artifacts
from app.services.courier import Courier
from app.services.flags import Defaults, Switches
from app.services.plans import PlanCache
from app.services.resolve_secrets import SecretReader
from app.services.slots import NoSlots, Slots


class Sender(Protocol):
    """Sends canvases to the broker."""

    def epoch(self) -> str | None:
        """Return the broker's present epoch, None while it is away."""

    def send(self, canvases: Iterable[Any]) -> None:
        """Send each canvas; raises Unavailable when the broker is away."""


class BrokerLook(Protocol):
    """Reads what the broker holds."""

    def look(self, queues: Sequence[str]) -> BrokerView:
        """Return the messages held; raises Unavailable when the broker is away."""

    def depths(self, queues: Sequence[str]) -> Mapping[str, int]:
        """Return how many messages wait in each queue; raises Unavailable when the broker is away."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What `advance` needs: the tenant's rows, the plans, a way to send, what was put aside, who works."""

    database: Database
    plans: PlanCache
    sender: Sender
    artifacts: Artifacts
    slots: Slots = field(default_factory=NoSlots)


class StepLimits(Protocol):
    """Holds each step to its time limits from outside, while its operation runs."""

    def begin(self, message: StepMessage, tries: int, limit_s: float) -> None:
        """Start the clock of the step that was claimed; `limit_s` is its soft limit in seconds."""

    def end(self) -> None:
        """Stop it, before the step is settled."""


class NoLimits:
    """The limits of a process that nobody watches."""

    def begin(self, message: StepMessage, tries: int, limit_s: float) -> None:
        """Start nothing."""

    def end(self) -> None:
        """Stop nothing."""


NO_LIMITS = NoLimits()


@dataclass(frozen=True, slots=True)
class Executor:
    """What the execution of a step needs; `random` yields 0 <= x < 1, `clock` and `wait` count seconds.

    `interruption` is what the pool raises inside an operation at its soft time limit, or to cancel it.
    """

    engine: Engine
    registry: ModuleRegistry
    secrets: SecretReader
    resources: Resources
    log: StepLog
    interruption: type[BaseException]
    random: Callable[[], float]
    clock: Callable[[], float]
    wait: Callable[[float], None]
    limits: StepLimits = NO_LIMITS
    flags: Switches = field(default_factory=Defaults)
    courier: Courier = field(default_factory=Courier)
