"""The sending of marked segments: what cannot be sent is unmarked, so that the dispatcher sends it later."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import hot
from app.domain.errors import Unavailable
from app.services.ports import Engine
from workflows.canvas import bind_messages, canvas_of
from workflows.plan import Plan
from workflows.segments import Segment

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parcel:
    """Segments of one run whose steps are marked as sent under these epochs, some as members of lots."""

    plan: Plan
    tenant_id: UUID
    run_id: UUID
    segments: Sequence[Segment]
    epochs: Mapping[str, int]
    lots: Mapping[str, UUID] = field(default_factory=dict)

    def canvases(self) -> Iterator[Any]:
        """Yield one canvas for each segment."""
        bind = bind_messages(self.plan, self.tenant_id, self.run_id, self.epochs, self.lots)
        return (canvas_of(segment, bind) for segment in self.segments)


def send_parcels(engine: Engine, parcels: Sequence[Parcel]) -> bool:
    """Send the segments of several runs in one go; tell whether all went, else all of them are unmarked."""
    if not parcels:
        return True
    try:
        engine.sender.send(canvas for parcel in parcels for canvas in parcel.canvases())
    except Unavailable:
        for parcel in parcels:
            log.info("send_failed", extra={"run_id": str(parcel.run_id), "steps": len(parcel.epochs)})
            hot.unmark_sent(engine.database, parcel.tenant_id, parcel.run_id, parcel.epochs)
        return False
    return True
