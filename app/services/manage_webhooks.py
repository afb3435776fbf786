"""Webhooks as their owners handle them: made, changed, their secrets rotated, deleted."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.db import caps, trail
from app.db import webhooks as store
from app.db.engine import Connection, Database
from app.db.signing_secrets import OF_WEBHOOKS
from app.db.trail import Mark
from app.db.webhooks import WebhookRow
from app.domain.errors import InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.domain.webhooks import checked_patterns
from app.observability.logging import get_log
from app.security.egress import TargetRefused, check_target
from app.security.secret_box import SecretBox
from app.services.signing import make_secret, present_secrets, replace_secret

log = get_log(__name__)

DAY_S: Final = 86_400.0
_PUBLIC: Final = "8.8.8.8"

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class WebhookDeps:
    """What the keeping of webhooks needs; `allowed` names the operator's `host:port` exceptions."""

    database: Database
    box: SecretBox
    new_id: Callable[[], UUID]
    allowed: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Made:
    """A webhook with the secret that is shown this once."""

    row: WebhookRow
    secret: str = field(repr=False)


def create_webhook(deps: WebhookDeps, actor: Actor, wanted: Values) -> Made:
    """Make a webhook: it gets what happens from now on.

    Raises InvalidInput, Conflict for its name, CapReached.
    """
    webhook_id = deps.new_id()
    values = _checked(deps, wanted)
    with deps.database.tenant(actor.tenant_id) as connection:
        with caps.room(connection, actor.tenant_id, "webhooks"):
            store.add(connection, actor.tenant_id, webhook_id, actor.user_id, values)
        secret = make_secret(OF_WEBHOOKS, deps.box, deps.new_id, connection, actor.tenant_id, webhook_id)
        made = _found(store.find(connection, actor.tenant_id, webhook_id))
        _mark(connection, actor, made, "webhook.create", "webhook.created")
    return Made(made, secret)


def change_webhook(
    deps: WebhookDeps, actor: Actor, webhook_id: UUID, version: int | None, wanted: Values
) -> WebhookRow:
    """Change what `wanted` names; enabling one forgets what failed before.

    Raises as `create_webhook`, or NotFound, PreconditionFailed.
    """
    values = _checked(deps, wanted)
    if "state" in values:
        values["disabled_reason"] = None if values["state"] == "active" else "by hand"
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, webhook_id, version)
        if not values:
            return row
        store.change(connection, actor.tenant_id, webhook_id, values)
        afresh = "url" in values or (values.get("state") == "active" and row["state"] == "disabled")
        store.wake(connection, actor.tenant_id, webhook_id, afresh=afresh)
        changed = _found(store.find(connection, actor.tenant_id, webhook_id))
        shut = changed["state"] == "disabled" and row["state"] == "active"
        _mark(connection, actor, changed, "webhook.change", "webhook.disabled" if shut else "webhook.changed")
    return changed


def delete_webhook(deps: WebhookDeps, actor: Actor, webhook_id: UUID, version: int | None) -> None:
    """Delete a webhook with its log; what is under way ends, nothing more is sent. Raises NotFound."""
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, webhook_id, version)
        _mark(connection, actor, row, "webhook.delete", "webhook.deleted")
        store.delete(connection, actor.tenant_id, webhook_id)


def rotate_secret(
    deps: WebhookDeps, actor: Actor, webhook_id: UUID, version: int | None, overlap_s: float
) -> Made:
    """Give it a new secret; the one before still signs, beside the new one, for `overlap_s` seconds.

    Raises NotFound, PreconditionFailed.
    """
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, webhook_id, version)
        secret = replace_secret(
            OF_WEBHOOKS, deps.box, deps.new_id, connection, actor.tenant_id, webhook_id, overlap_s
        )
        store.touch(connection, actor.tenant_id, webhook_id)
        changed = _found(store.find(connection, actor.tenant_id, webhook_id))
        detail = {"overlap_s": overlap_s}
        _mark(connection, actor, row, "webhook.rotate", "webhook.changed", detail)
    return Made(changed, secret)


def disable_gone(database: Database, tenant_id: UUID, webhook_id: UUID) -> None:
    """Disable a webhook whose receiver answered that it is gone; harmless when repeated."""
    with database.tenant(tenant_id) as connection:
        row = store.find(connection, tenant_id, webhook_id, locked=True)
        if row is not None and row["state"] == "active":
            _disable(connection, tenant_id, row, "the receiver answered 410 Gone")


def disable_failing(database: Database, tenant_id: UUID, webhook_id: UUID) -> None:
    """Disable a webhook whose every attempt failed for too long; not one that was enabled anew meanwhile."""
    with database.tenant(tenant_id) as connection:
        row = store.find(connection, tenant_id, webhook_id, locked=True)
        if row is not None and row["state"] == "active" and row["failing_since"] is not None:
            reason = f"every attempt failed since {row['failing_since']:%Y-%m-%d %H:%M} UTC"
            _disable(connection, tenant_id, row, reason)


def _disable(connection: Connection, tenant_id: UUID, row: WebhookRow, reason: str) -> None:
    store.change(connection, tenant_id, row["id"], {"state": "disabled", "disabled_reason": reason})
    store.wake(connection, tenant_id, row["id"], afresh=False)
    actor = Actor(tenant_id, "", None, "webhooks", frozenset(), "webhooks")
    changed = row | {"state": "disabled"}
    _mark(connection, actor, changed, "webhook.disable", "webhook.disabled", {"reason": reason})
    log.warning("webhook_disabled", tenant_id=str(tenant_id), webhook_id=str(row["id"]), reason=reason)


def show_webhook(database: Database, actor: Actor, webhook_id: UUID) -> WebhookRow:
    """Return a webhook; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _found(store.find(connection, actor.tenant_id, webhook_id))


def list_webhooks(
    database: Database, actor: Actor, wanted: PageRequest, state: str | None
) -> Page[WebhookRow]:
    """Return the webhooks by name."""
    with database.tenant(actor.tenant_id) as connection:
        return store.page(connection, actor.tenant_id, wanted, state)


def signing_secrets(
    box: SecretBox, database: Database, tenant_id: UUID, webhook_id: UUID
) -> tuple[list[str], WebhookRow | None]:
    """Return what a delivery needs: the secrets that sign now, the row; raises as `present_secrets`."""
    with database.tenant(tenant_id) as connection:
        row = store.find(connection, tenant_id, webhook_id)
        if row is None:
            return [], None
        return present_secrets(OF_WEBHOOKS, box, connection, tenant_id, webhook_id), row


def check_endpoint(url: str, allowed: Collection[str]) -> None:
    """Raise InvalidInput for a URL that no delivery could go to; names are resolved at delivery only.

    Plain http is for the operator's exceptions: what is sent is signed, not secret, unless TLS hides it.
    """
    try:
        target = check_target(url, allowed, _literal)
    except TargetRefused as error:
        raise InvalidInput.at("/url", "refused", str(error)) from error
    name = f"[{target.host}]:{target.port}" if ":" in target.host else f"{target.host}:{target.port}"
    if target.scheme != "https" and name not in {entry.lower() for entry in allowed}:
        raise InvalidInput.at(
            "/url", "refused", "only https is spoken to endpoints; the operator may allow others"
        )


def _literal(host: str, _port: int) -> tuple[str, ...]:
    """Resolve literal addresses; a name is taken for a public one until it is resolved for a delivery."""
    if host == "localhost" or host.endswith(".localhost"):
        return ("127.0.0.1",)
    try:
        return (str(ipaddress.ip_address(host)),)
    except ValueError:
        return (_PUBLIC,)


def _checked(deps: WebhookDeps, wanted: Values) -> dict[str, Any]:
    values = dict(wanted)
    if "url" in values:
        check_endpoint(values["url"], deps.allowed)
    if "types" in values:
        values["types"] = checked_patterns(values["types"])
    return values


def _mark(
    connection: Connection,
    actor: Actor,
    row: WebhookRow,
    action: str,
    event: str,
    detail: Values | None = None,
) -> None:
    about = {"webhook_id": str(row["id"]), "name": row["name"], "state": row["state"], **(detail or {})}
    trail.leave(
        connection, actor.tenant_id, actor.as_json(), Mark(action, f"webhooks/{row['id']}", event, about)
    )


def _locked(connection: Connection, actor: Actor, webhook_id: UUID, version: int | None) -> WebhookRow:
    row = _found(store.find(connection, actor.tenant_id, webhook_id, locked=True))
    if version is not None and row["version"] != version:
        raise PreconditionFailed("the webhook was changed since")
    return row


def _found(row: WebhookRow | None) -> WebhookRow:
    if row is None:
        raise NotFound("no such webhook")
    return row
