"""Tenant secrets: written, listed by name, deleted, never shown."""

from __future__ import annotations

from typing import Any

from flask import Response

from app.api.etags import etag_of, expected_version
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.catalogue import NewSecretSchema, SecretSchema
from app.api.schemas.common import page_of
from app.services import manage_secrets as service

blueprint = Blueprint("secrets", "Values that only workers may read.")


@endpoint(
    blueprint,
    "PUT /secrets/<secret_name:name>",
    "secrets:write",
    SecretSchema,
    body=NewSecretSchema,
    tagged=True,
    errors=(409, 412),
)
def put_secret(body: dict[str, str], name: str) -> Any:
    """Set a secret; steps that start from now on get the new value."""
    version = expected_version(required=False)
    kept = service.put_secret(parts().box, parts().database, actor(), name, body["value"], version)
    return kept, {"ETag": etag_of(kept.version)}


@endpoint(blueprint, "GET /secrets", "secrets:read", page_of(SecretSchema), query=PageArgs)
def list_secrets(query: dict[str, Any]) -> dict[str, Any]:
    """List the names of the secrets."""
    wanted = page_request("secrets", query)
    return page_document("secrets", service.list_secrets(source(), actor(), wanted))


@endpoint(blueprint, "DELETE /secrets/<secret_name:name>", "secrets:write", None, status=204, errors=(412,))
def delete_secret(name: str) -> Response:
    """Delete a secret; steps that still name it fail."""
    service.delete_secret(parts().database, actor(), name, expected_version(required=False))
    return Response(status=204)
