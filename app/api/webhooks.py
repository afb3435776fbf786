"""Webhooks: made, changed, rotated, tested, replayed, with the log of their deliveries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Response

from app.api.etags import etag_of, expected_version
from app.api.idempotency import answer_once, rendered
from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.webhooks import (
    DeliveryArgs,
    DeliveryDetailSchema,
    DeliverySchema,
    NewWebhookSchema,
    ReplayAnswerSchema,
    ReplaySchema,
    RotationSchema,
    WebhookArgs,
    WebhookPatchSchema,
    WebhookSchema,
    WebhookWithSecretSchema,
)
from app.services import manage_webhooks as service
from app.services import replay_webhooks as replaying
from app.services.manage_webhooks import Made

blueprint = Blueprint("webhooks", "Events told over HTTP.")

PATH = "/webhooks/<uuid:webhook_id>"
_DELIVERY = DeliveryDetailSchema()
_REPLAY = ReplayAnswerSchema()


@endpoint(
    blueprint,
    "POST /webhooks",
    "webhooks:write",
    WebhookWithSecretSchema,
    status=201,
    body=NewWebhookSchema,
    tagged=True,
    errors=(409,),
)
def create_webhook(body: dict[str, Any]) -> Any:
    """Make a webhook; the answer shows its secret, this once, so it is not kept for an Idempotency-Key."""
    return _with_secret(service.create_webhook(parts().webhooks, actor(), body))


@endpoint(blueprint, "GET /webhooks", "webhooks:read", page_of(WebhookSchema), query=WebhookArgs)
def list_webhooks(query: dict[str, Any]) -> dict[str, Any]:
    """List the webhooks by name."""
    wanted = page_request("webhooks", query)
    return page_document("webhooks", service.list_webhooks(source(), actor(), wanted, query.get("state")))


@endpoint(blueprint, f"GET {PATH}", "webhooks:read", WebhookSchema, tagged=True)
def show_webhook(webhook_id: UUID) -> Any:
    """Show a webhook."""
    return _tagged(service.show_webhook(source(), actor(), webhook_id))


@endpoint(
    blueprint,
    f"PATCH {PATH}",
    "webhooks:write",
    WebhookSchema,
    body=WebhookPatchSchema,
    changes=True,
    errors=(409,),
)
def change_webhook(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Change a webhook; enabling it forgets its failures."""
    return _tagged(service.change_webhook(parts().webhooks, actor(), webhook_id, expected_version(), body))


@endpoint(blueprint, f"DELETE {PATH}", "webhooks:write", None, status=204, errors=(412,))
def delete_webhook(webhook_id: UUID) -> Response:
    """Delete a webhook with its log."""
    service.delete_webhook(parts().webhooks, actor(), webhook_id, expected_version(required=False))
    return Response(status=204)


@endpoint(
    blueprint,
    f"POST {PATH}:rotate-secret",
    "webhooks:write",
    WebhookWithSecretSchema,
    body=RotationSchema,
    changes=True,
)
def rotate_webhook_secret(body: dict[str, Any], webhook_id: UUID) -> Any:
    """Give a webhook a new secret; during the overlap both sign."""
    return _with_secret(
        service.rotate_secret(parts().webhooks, actor(), webhook_id, expected_version(), body["overlap_s"])
    )


@endpoint(blueprint, f"POST {PATH}:ping", "webhooks:write", DeliveryDetailSchema, status=202, creates=True)
def ping_webhook(webhook_id: UUID) -> Response:
    """Send a test event, tried once."""
    return answer_once(
        lambda receipt: replaying.send_ping(parts().webhooks, actor(), webhook_id, receipt),
        lambda sent: rendered(202, _DELIVERY, sent, _location(webhook_id, sent)),
    )


@endpoint(
    blueprint,
    f"POST {PATH}:replay",
    "webhooks:write",
    ReplayAnswerSchema,
    status=202,
    body=ReplaySchema,
    creates=True,
)
def replay_webhook(body: dict[str, Any], webhook_id: UUID) -> Response:
    """Deliver events again: behind a position, since a moment, or the dead letters."""
    deps = parts().webhooks
    if "dead_letters" in body:
        return answer_once(
            lambda receipt: replaying.replay_dead(deps, actor(), webhook_id, receipt),
            lambda done: rendered(202, _REPLAY, done),
        )
    after, since = body.get("after", 0), body.get("since")
    return answer_once(
        lambda receipt: replaying.replay_events(deps, actor(), webhook_id, after, since, receipt),
        lambda done: rendered(202, _REPLAY, done),
    )


@endpoint(blueprint, f"GET {PATH}/deliveries", "webhooks:read", page_of(DeliverySchema), query=DeliveryArgs)
def list_deliveries(query: dict[str, Any], webhook_id: UUID) -> dict[str, Any]:
    """List the deliveries, those of the latest events first."""
    wanted = page_request("deliveries", query)
    return page_document(
        "deliveries",
        replaying.list_deliveries(source(), actor(), webhook_id, wanted, query.get("state")),
    )


@endpoint(blueprint, f"GET {PATH}/deliveries/<uuid:event_id>", "webhooks:read", DeliveryDetailSchema)
def show_delivery(webhook_id: UUID, event_id: UUID) -> Any:
    """Show a delivery with its attempts."""
    return replaying.show_delivery(source(), actor(), webhook_id, event_id)


@endpoint(
    blueprint,
    f"POST {PATH}/deliveries/<uuid:event_id>:replay",
    "webhooks:write",
    DeliveryDetailSchema,
    status=202,
    creates=True,
)
def replay_delivery(webhook_id: UUID, event_id: UUID) -> Response:
    """Deliver one event again."""
    return answer_once(
        lambda receipt: replaying.replay_delivery(parts().webhooks, actor(), webhook_id, event_id, receipt),
        lambda again: rendered(202, _DELIVERY, again, _location(webhook_id, again)),
    )


def _location(webhook_id: UUID, delivery: Mapping[str, Any]) -> dict[str, str]:
    return {"Location": f"{PREFIX}/webhooks/{webhook_id}/deliveries/{delivery['event_id']}"}


def _tagged(row: Mapping[str, Any]) -> Any:
    return row, {"ETag": etag_of(row["version"])}


def _with_secret(made: Made) -> Any:
    headers = {"Location": f"{PREFIX}/webhooks/{made.row['id']}", "ETag": etag_of(made.row["version"])}
    return {**made.row, "secret": made.secret}, headers
