"""The hands of the platform's operators: workers, queues, maintenance."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from flask import Flask, Response

from app.api.etags import etag_of, expected_version
from app.api.paging import PageArgs, page_document, page_request
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.platform import (
    BeatSchema,
    MaintenanceSchema,
    NewMaintenanceSchema,
    OrderPatchSchema,
    OrderSchema,
    QueuesSchema,
    RunningStepsSchema,
    WorkerSchema,
)
from app.domain.paging import Page
from app.services import maintenance as maintenance_service
from app.services import manage_workers as service
from app.services.queue_counts import list_queues as count_queues
from app.services.queue_counts import longest_steps
from app.services.schedule import list_lanes

blueprint = Blueprint("platform", "Workers, queues, beat, maintenance: for the platform's administrators.")

SIGN: Final = "Quantum-Maintenance"
ORDER: Final = "/platform/workers/<worker_name:name>/order"


@endpoint(blueprint, "GET /platform/workers", "platform:read", page_of(WorkerSchema), query=PageArgs)
def list_workers(query: dict[str, Any]) -> dict[str, Any]:
    """List the worker processes seen within a day, by name."""
    wanted = page_request("workers", query)
    found = service.list_workers(parts().platform, parts().release, wanted)
    shown = tuple({**asdict(each.worker), "skewed": each.skewed} for each in found.items)
    return page_document("workers", Page(shown, found.next_cursor))


@endpoint(blueprint, f"GET {ORDER}", "platform:read", OrderSchema, tagged=True)
def show_worker_order(name: str) -> Any:
    """Show what is ordered of the workers of this name."""
    found = service.show_order(parts().platform, name)
    return found, {"ETag": etag_of(found.version)}


@endpoint(blueprint, f"PATCH {ORDER}", "platform:write", OrderSchema, body=OrderPatchSchema, changes=True)
def change_worker_order(body: dict[str, Any], name: str) -> Any:
    """Drain, quarantine, release, or resize the workers of this name; an order in force changes nothing."""
    changed = service.change_order(parts().platform, actor(), name, expected_version(), body)
    return changed, {"ETag": etag_of(changed.version)}


@endpoint(blueprint, "GET /platform/queues", "platform:read", QueuesSchema)
def list_queues() -> dict[str, Any]:
    """List the queues with their depth, the age of what waits, who serves them."""
    found = count_queues(parts().platform, parts().broker)
    return {"items": [{**asdict(each.counts), "depth": each.depth} for each in found]}


@endpoint(blueprint, "GET /platform/beat", "platform:read", BeatSchema)
def show_beat() -> dict[str, Any]:
    """Show when each job of beat was begun last, by whichever beat, and how late it is."""
    return {"items": list_lanes(parts().platform)}


@endpoint(blueprint, "GET /platform/steps", "platform:read", RunningStepsSchema)
def list_running_steps() -> dict[str, Any]:
    """List the twenty steps that have run longest, of all tenants."""
    return {"items": longest_steps(parts().platform)}


@endpoint(blueprint, "GET /platform/maintenance", "platform:read", MaintenanceSchema, tagged=True)
def show_maintenance() -> Any:
    """Show whether the platform accepts work without beginning any."""
    found = maintenance_service.show_maintenance(parts().platform)
    return found, {"ETag": etag_of(found.version)}


@endpoint(
    blueprint,
    "PUT /platform/maintenance",
    "platform:write",
    MaintenanceSchema,
    body=NewMaintenanceSchema,
    changes=True,
)
def change_maintenance(body: dict[str, Any]) -> Any:
    """Turn maintenance on or off."""
    changed = maintenance_service.change_maintenance(
        parts().platform, actor(), expected_version(), body["active"], body["reason"]
    )
    return changed, {"ETag": etag_of(changed.version)}


def announce(app: Flask) -> None:
    """Tell in a header of every answer that the platform is held: what it accepts does not begin."""
    app.after_request(_announce)


def _announce(response: Response) -> Response:
    found = parts().sign.look()
    if found is not None and found.active:
        response.headers[SIGN] = "on"
    return response
