"""Bulk actions: one command for many runs, previewed, made, watched, steered."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Response

from app.api.etags import etag_of, expected_version
from app.api.idempotency import Rendered, answer_once, rendered
from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.bulk import (
    BulkActionDetailSchema,
    BulkActionSchema,
    BulkArgs,
    BulkItemArgs,
    BulkItemSchema,
    BulkPreviewSchema,
    BulkRequestSchema,
    BulkRetrySchema,
)
from app.api.schemas.common import page_of
from app.domain.bulk import BulkAction
from app.services import bulk_actions
from app.services.bulk_actions import BulkOrder

blueprint = Blueprint("bulk actions", "One command for many runs.")

_BULK = BulkActionDetailSchema()
_PREVIEW = BulkPreviewSchema()


@endpoint(
    blueprint,
    "POST /bulk-actions",
    "runs:repair",
    BulkActionDetailSchema,
    status=202,
    body=BulkRequestSchema,
    creates=True,
    also={200: BulkPreviewSchema},
)
def create_bulk_action(body: dict[str, Any]) -> Response:
    """Freeze the runs that a filter finds, then act on them one by one; with `dry_run` only count them."""
    return _ordered(
        BulkOrder(body["action"], body["filter"], body["rate"], body["limit"], body.get("reason")),
        dry_run=body["dry_run"],
    )


@endpoint(
    blueprint,
    "POST /runs:retry",
    "runs:repair",
    BulkActionDetailSchema,
    status=202,
    body=BulkRetrySchema,
    creates=True,
    also={200: BulkPreviewSchema},
)
def retry_runs(body: dict[str, Any]) -> Response:
    """Make a bulk action that retries the runs which a filter finds; with `dry_run` only count them."""
    return _ordered(BulkOrder("retry", body["filter"], limit=body["limit"]), dry_run=body["dry_run"])


@endpoint(blueprint, "GET /bulk-actions", "runs:read", page_of(BulkActionSchema), query=BulkArgs)
def list_bulk_actions(query: dict[str, Any]) -> dict[str, Any]:
    """List the bulk actions, latest first."""
    wanted = page_request("bulk actions", query)
    found = bulk_actions.list_bulk_actions(source(), actor(), wanted, **query)
    return page_document("bulk actions", found)


@endpoint(blueprint, "GET /bulk-actions/<uuid:bulk_id>", "runs:read", BulkActionDetailSchema, tagged=True)
def show_bulk_action(bulk_id: UUID) -> Any:
    """Show how far a bulk action has come."""
    found = bulk_actions.show_bulk_action(source(), actor(), bulk_id)
    return found, {"ETag": etag_of(found.version)}


@endpoint(
    blueprint,
    "GET /bulk-actions/<uuid:bulk_id>/items",
    "runs:read",
    page_of(BulkItemSchema),
    query=BulkItemArgs,
)
def list_bulk_items(query: dict[str, Any], bulk_id: UUID) -> dict[str, Any]:
    """List what became of the items, in the order of the freeze."""
    name = f"bulk items {bulk_id}"
    wanted = page_request(name, query)
    found = bulk_actions.list_bulk_items(source(), actor(), bulk_id, wanted, **query)
    return page_document(name, found)


@endpoint(
    blueprint,
    "POST /bulk-actions/<uuid:bulk_id>:pause",
    "runs:repair",
    BulkActionDetailSchema,
    status=202,
    creates=True,
    errors=(412,),
)
def pause_bulk_action(bulk_id: UUID) -> Response:
    """Pause a bulk action: no further item is acted on until the resume."""
    return _steered(bulk_id, "pause")


@endpoint(
    blueprint,
    "POST /bulk-actions/<uuid:bulk_id>:resume",
    "runs:repair",
    BulkActionDetailSchema,
    status=202,
    creates=True,
    errors=(412,),
)
def resume_bulk_action(bulk_id: UUID) -> Response:
    """Go on with a paused bulk action."""
    return _steered(bulk_id, "resume")


@endpoint(
    blueprint,
    "POST /bulk-actions/<uuid:bulk_id>:cancel",
    "runs:repair",
    BulkActionDetailSchema,
    status=202,
    creates=True,
    errors=(412,),
)
def cancel_bulk_action(bulk_id: UUID) -> Response:
    """End a bulk action: what is done stays, the other items are left alone."""
    return _steered(bulk_id, "cancel")


def _ordered(order: BulkOrder, *, dry_run: bool) -> Response:
    if dry_run:
        counted = bulk_actions.preview_bulk_action(parts().database, actor(), order)
        return rendered(200, _PREVIEW, counted).response()
    parts().flags.require("bulk_actions", actor().tenant_id)
    return answer_once(
        lambda receipt: bulk_actions.create_bulk_action(parts().submit, actor(), order, receipt=receipt),
        _accepted,
    )


def _steered(bulk_id: UUID, verb: str) -> Response:
    version = expected_version(required=False)
    return answer_once(
        lambda receipt: bulk_actions.steer_bulk_action(
            parts().database, actor(), bulk_id, verb, version, receipt=receipt
        ),
        _accepted,
    )


def _accepted(found: BulkAction) -> Rendered:
    headers = {"Location": f"{PREFIX}/bulk-actions/{found.id}", "ETag": etag_of(found.version)}
    return rendered(202, _BULK, found, headers)
