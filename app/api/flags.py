"""Feature flags: what is on for a tenant, what the platform's operators say."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from app.api.etags import etag_of, expected_version
from app.api.request_context import actor, parts
from app.api.routes import SIGNED_IN, Blueprint, endpoint
from app.api.schemas.flags import (
    FlagOverrideSchema,
    FlagRuleSchema,
    FlagSchema,
    FlagsSchema,
    PresentFlagsSchema,
)
from app.domain.flags import FlagRule
from app.services import manage_flags as service
from app.services.manage_flags import FlagView

blueprint = Blueprint("flags", "What can be switched off, and for whom.")


@endpoint(blueprint, "GET /flags", SIGNED_IN, PresentFlagsSchema)
def show_present_flags() -> dict[str, Any]:
    """Tell which flags are on for the caller's tenant."""
    return {"flags": service.present_flags(parts().flags, actor())}


@endpoint(blueprint, "GET /platform/flags", "flags:read", FlagsSchema)
def list_flags() -> dict[str, Any]:
    """List every flag with its rule; overrides are shown with one flag only."""
    return {"items": [view.document for view in service.list_flags(parts().platform)]}


@endpoint(blueprint, "GET /platform/flags/<name>", "flags:read", FlagSchema, tagged=True)
def show_flag(name: str) -> Any:
    """Show a flag."""
    return _shown(service.show_flag(parts().platform, name))


@endpoint(
    blueprint, "PUT /platform/flags/<name>", "flags:write", FlagSchema, body=FlagRuleSchema, changes=True
)
def set_flag(body: dict[str, Any], name: str) -> Any:
    """Replace a flag's rule; every process feels it within 5 seconds."""
    rule = FlagRule(body["killed"], body["percentage"])
    return _shown(service.set_flag(parts().platform, actor(), name, expected_version(), rule, body["reason"]))


@endpoint(
    blueprint,
    "PUT /platform/flags/<name>/tenants/<uuid:tenant_id>",
    "flags:write",
    FlagSchema,
    body=FlagOverrideSchema,
)
def override_flag(body: dict[str, Any], name: str, tenant_id: UUID) -> Any:
    """Say that a flag is on or off for one tenant; null lets the rule hold again."""
    return _shown(
        service.override_flag(parts().platform, actor(), name, tenant_id, body["enabled"], body["reason"])
    )


def _shown(view: FlagView) -> Any:
    return view.document, {"ETag": etag_of(view.state.version)}
