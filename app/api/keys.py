"""The key-encryption keys: listed by name, replaced, given up when they are lost."""

from __future__ import annotations

from typing import Any

from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.keys import (
    AbandonmentSchema,
    KeyBatchSchema,
    KeysSchema,
    NewAbandonmentSchema,
    RewrapSchema,
)
from app.services import manage_keys as service

blueprint = Blueprint("keys", "Key-encryption keys, by their names: for the platform's administrators.")


@endpoint(blueprint, "GET /platform/keys", "platform:read", KeysSchema)
def list_keys() -> dict[str, Any]:
    """List the keys that this process has or that rows hang on."""
    return {"items": service.list_keys(parts().platform, parts().box)}


@endpoint(blueprint, "POST /platform/keys:rewrap", "platform:write", RewrapSchema, body=KeyBatchSchema)
def rewrap_keys(body: dict[str, Any]) -> Any:
    """Wrap a batch of tenants' keys anew under the newest key; call it until none remains."""
    given = parts()
    return service.rewrap_keys(
        given.box, given.platform, given.database, actor(), body["limit"], dry_run=body["dry_run"]
    )


@endpoint(
    blueprint,
    "POST /platform/keys/<key_id:key_id>:abandon",
    "platform:write",
    AbandonmentSchema,
    body=NewAbandonmentSchema,
    errors=(409,),
)
def abandon_key(body: dict[str, Any], key_id: str) -> Any:
    """Give up, for a batch of tenants, the secrets that hang on a lost key; nothing brings them back."""
    given, limit, reason = parts(), body["limit"], body["reason"]
    return service.abandon_key(
        given.box, given.platform, given.database, actor(), key_id, limit, reason, dry_run=body["dry_run"]
    )
