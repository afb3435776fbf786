"""Users of the caller's tenant."""

from __future__ import annotations

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
from app.api.schemas.identity import NewUserSchema, UserArgs, UserPatchSchema, UserSchema
from app.services import manage_users as service

blueprint = Blueprint("users", "People, with the roles they hold in their tenant.")


@endpoint(
    blueprint,
    "POST /users",
    "users:write",
    UserSchema,
    status=201,
    body=NewUserSchema,
    creates=True,
    tagged=True,
)
def create_user(body: dict[str, Any]) -> Response:
    """Create a user."""
    wanted = service.NewUser(
        body["email"], body["password"], body.get("display_name"), frozenset(body["roles"])
    )
    return answer_once(
        lambda receipt: service.create_user(parts().database, actor(), wanted, receipt),
        lambda made: rendered(
            201, UserSchema(), made, {"Location": f"{PREFIX}/users/{made.id}", "ETag": etag_of(made.version)}
        ),
    )


@endpoint(blueprint, "GET /users", "users:read", page_of(UserSchema), query=UserArgs)
def list_users(query: dict[str, Any]) -> dict[str, Any]:
    """List the users, latest first."""
    wanted = page_request("users", query)
    return page_document("users", service.list_users(source(), actor(), wanted, query.get("state")))


@endpoint(blueprint, "GET /users/<uuid:user_id>", "users:read", UserSchema, tagged=True)
def show_user(user_id: UUID) -> Any:
    """Show a user."""
    found = service.show_user(source(), actor(), user_id)
    return found, {"ETag": etag_of(found.version)}


@endpoint(
    blueprint, "PATCH /users/<uuid:user_id>", "users:write", UserSchema, body=UserPatchSchema, changes=True
)
def change_user(body: dict[str, Any], user_id: UUID) -> Any:
    """Change a user's name, roles, state or password; a new password or a closed user ends its sessions."""
    changed = service.change_user(parts().database, actor(), user_id, expected_version(), body)
    return changed, {"ETag": etag_of(changed.version)}
