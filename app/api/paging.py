"""Keyset pages as the API shows them: cursors signed for one list of one tenant."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any, Final

from marshmallow import Schema, fields, validate

from app.api.request_context import actor, parts
from app.domain.errors import InvalidInput
from app.domain.paging import MAX_PAGE, Page, PageRequest

DEFAULT_LIMIT: Final = 50
_LONGEST: Final = 512
_TAG_BYTES: Final = 12


class PageArgs(Schema):
    """What every list takes."""

    limit = fields.Integer(
        load_default=DEFAULT_LIMIT,
        validate=validate.Range(1, MAX_PAGE),
        metadata={"description": "Items of one page"},
    )
    cursor = fields.String(
        validate=validate.Length(1, _LONGEST), metadata={"description": "next_cursor of the page before"}
    )


def page_request(name: str, args: dict[str, Any]) -> PageRequest:
    """Return what the page arguments ask for, taken out of `args`.

    Raises InvalidInput for a cursor that this API did not hand out for list `name` to this tenant.
    """
    limit, cursor = args.pop("limit"), args.pop("cursor", None)
    if cursor is None:
        return PageRequest(limit)
    tag, _, inner = cursor.partition(".")
    if not inner or not hmac.compare_digest(tag.encode(), _sign(name, inner).encode()):
        raise InvalidInput.at("/query/cursor", "cursor", "not a cursor of this list")
    return PageRequest(limit, inner)


def page_document(name: str, page: Page[Any]) -> dict[str, Any]:
    """Return the page with its cursor signed; items stay values for the schema to dump."""
    inner = page.next_cursor
    return {"items": page.items, "next_cursor": f"{_sign(name, inner)}.{inner}" if inner else None}


def _sign(name: str, inner: str) -> str:
    bound = f"{name}\n{actor().tenant_id}\n{inner}".encode()
    tag = hmac.digest(parts().keys.derived, bound, hashlib.sha256)[:_TAG_BYTES]
    return base64.urlsafe_b64encode(tag).decode()
