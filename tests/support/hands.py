"""A worker's hands in the test's own process: steps executed one by one, without a broker's message."""

from __future__ import annotations

from uuid import UUID

from app.bootstrap.celery import build_celery
from app.db.ids import new_id
from app.domain.leases import Child, Lease, StepMessage
from app.services.execute import StepResult, execute_step
from app.services.ports import Executor
from tests.support.rig import Rig


class Hands:
    """Executes the steps of a rig's runs."""

    def __init__(self, rig: Rig, executor: Executor | None = None) -> None:
        self._rig = rig
        self.executor: Executor = executor or build_celery(rig.settings).container.worker.executor
        self.lease = Lease(new_id(), Child(1, 1), "hands")

    def perform(self, run_id: UUID, key: str) -> StepResult:
        """Execute a ready step that was sent."""
        epoch = self._rig.step(run_id, key)["dispatch_epoch"]
        tenant_id = self._rig.run(run_id)["tenant_id"]
        return execute_step(self.executor, StepMessage(tenant_id, run_id, key, epoch), self.lease)
