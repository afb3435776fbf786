"""The sending of marked segments: what cannot be sent is unmarked, so that the dispatcher sends it later."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import UUID

from app.db import hot
from app.domain.errors import Unavailable
from app.services.ports import Engine
from workflows.canvas import bind_messages, canvas_of
from workflows.plan import Plan
from workflows.segments import Segment

log = logging.getLogger(__name__)


def send_segments(
    engine: Engine,
    plan: Plan,
    tenant_id: UUID,
    run_id: UUID,
    segments: Sequence[Segment],
    epochs: Mapping[str, int],
) -> bool:
    """Send one canvas for each segment, after the commit that marked their steps; tell whether all went."""
    bind = bind_messages(plan, tenant_id, run_id, epochs)
    try:
        engine.sender.send(canvas_of(segment, bind) for segment in segments)
    except Unavailable:
        log.info("send_failed", extra={"run_id": str(run_id), "steps": len(epochs)})
        hot.unmark_sent(engine.database, tenant_id, run_id, epochs)
        return False
    return True
