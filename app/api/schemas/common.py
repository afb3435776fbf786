"""Fields that several shapes share, with the page around the items of a list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate

INT32: Final = 2**31 - 1
LONGEST_TEXT: Final = 200
EMAIL: Final = r"^[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63}){0,8}$"
SLUG: Final = r"^[a-z][a-z0-9-]{1,62}$"
DOTTED: Final = r"^[a-z][a-z0-9_-]{0,62}(\.[a-z0-9][a-z0-9_-]{0,62}){0,3}$"
_EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)


def text(pattern: str | None = None, longest: int = LONGEST_TEXT, **options: Any) -> fields.String:
    """Return a text field of at least one character."""
    checks: list[Any] = [validate.Length(1, longest)]
    if pattern:
        checks.append(_Pattern(pattern))
    return fields.String(validate=checks, **options)


def number(low: int = 0, high: int = INT32, **options: Any) -> fields.Integer:
    """Return a whole number that is one in JSON too: no text, no fraction."""
    return fields.Integer(strict=True, validate=validate.Range(low, high), **options)


def moment(**options: Any) -> fields.AwareDateTime:
    """Return a point in time with its offset from UTC, within the range that identifiers can tell."""
    return fields.AwareDateTime(format="iso", validate=validate.Range(_EARLIEST, _LATEST), **options)


class _Pattern(validate.Regexp):
    """A pattern that must match the whole text: Python's `$` would let a line end pass."""

    def __call__(self, value: Any) -> Any:
        if self.regex.fullmatch(value) is None:
            raise ValidationError(f"must match {self.regex.pattern!r}")
        return value


class Duration(fields.Raw):
    """An ISO 8601 duration or a number of seconds, judged by the service."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationError("must be a duration such as PT5M, or a number of seconds")
        return value


class JsonObject(fields.Field[Any]):
    """Any JSON object, untouched."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> Any:
        if not isinstance(value, dict):
            raise ValidationError("must be an object")
        return value


class JsonValue(fields.Raw):
    """Any JSON value, untouched."""


def json_object_schema(_: Any, field: Any, **__: Any) -> dict[str, Any]:
    """Tell apispec how a JsonObject, a Duration look."""
    if isinstance(field, Duration):
        return {"type": ["string", "number"], "examples": ["PT2H", 90]}
    return (
        {"type": ["object", "null"] if field.allow_none else "object"}
        if isinstance(field, JsonObject)
        else {}
    )


class ProblemRef(Schema):
    """What every error looks like, inside a list of results."""

    type = fields.String(required=True)
    title = fields.String(required=True)
    status = fields.Integer(required=True)
    detail = fields.String(required=True)
    errors = fields.List(fields.Dict(keys=fields.String(), values=fields.String()))


@cache
def page_of(item: type[Schema]) -> type[Schema]:
    """Return the schema of a page of `item`."""
    members: Mapping[str, Any] = {
        "items": fields.List(fields.Nested(item), required=True),
        "next_cursor": fields.String(
            required=True, allow_none=True, metadata={"description": "Pass as cursor; null on the last page"}
        ),
    }
    return Schema.from_dict(dict(members), name=item.__name__.removesuffix("Schema") + "PageSchema")
