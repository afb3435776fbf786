"""The sending of what nobody sent: runs with ready steps left unsent."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass

from app.db import recovery
from app.db.engine import Database
from app.domain.leases import RunRef
from app.observability.context import run_context
from app.observability.metrics import RECOVERIES
from app.services.advance import advance
from app.services.ports import Engine

log = logging.getLogger(__name__)

RUNS_AT_ONCE = 500
UNSENT_FOR_S = 1.0


@dataclass(frozen=True, slots=True)
class Dispatch:
    """The tenants' engine, plus the system role that lists runs across tenants."""

    engine: Engine
    system: Database


def dispatch(deps: Dispatch) -> int:
    """Advance each run that has been ready and unsent for a second, or has a place now; return their number.

    Nothing is listed while the broker is away. Two dispatchers at once are harmless.
    """
    if deps.engine.sender.epoch() is None:
        return 0
    held = advance_each(deps.engine, recovery.held_runs_due(deps.system), "held")
    unsent = recovery.unsent_runs(deps.system, RUNS_AT_ONCE, UNSENT_FOR_S)
    return held + advance_each(deps.engine, unsent, "unsent")


def advance_each(engine: Engine, runs: Iterable[RunRef], reason: str) -> int:
    """Advance the runs one by one; a run whose advance fails, however, does not keep the others waiting."""
    number = 0
    for run in runs:
        number += 1
        RECOVERIES.labels(reason).inc()
        with run_context(run.tenant_id, run.run_id):
            try:
                advance(engine, run.tenant_id, run.run_id)
            except Exception:
                # Whatever is wrong with one run of one tenant, it is not the others' fault: they go on.
                log.exception("advance_failed", extra={"reason": reason})
    return number
