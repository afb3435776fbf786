"""The audit trail of the tenant."""

from __future__ import annotations

from typing import Any

from app.api.paging import page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.common import page_of
from app.api.schemas.trails import AuditArgs, AuditRecordSchema, VerificationArgs, VerificationSchema
from app.services import browse
from app.services.verify_audit import verify_audit

blueprint = Blueprint("audit", "Who did what to what, when, from where.")


@endpoint(blueprint, "GET /audit", "audit:read", page_of(AuditRecordSchema), query=AuditArgs)
def list_audit(query: dict[str, Any]) -> dict[str, Any]:
    """List the records, latest first."""
    wanted = page_request("audit", query)
    return page_document("audit", browse.list_audit(source(), actor(), wanted, **query))


@endpoint(blueprint, "GET /audit/verification", "audit:read", VerificationSchema, query=VerificationArgs)
def show_verification(query: dict[str, Any]) -> Any:
    """Compute a stretch of the chain of seals anew, compare it with the records."""
    return verify_audit(parts().database, parts().audit_key, actor(), query["first"], query["limit"])
