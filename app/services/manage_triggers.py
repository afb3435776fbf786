"""Triggers as their owners handle them: made, changed, paused, their secrets rotated, deleted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.db import caps, trail
from app.db import triggers as store
from app.db.engine import Connection, Database
from app.db.signing_secrets import OF_TRIGGERS
from app.db.trail import Mark
from app.db.triggers import TriggerRow
from app.domain.errors import IllegalState, InvalidInput, NotFound, PreconditionFailed
from app.domain.identity import Actor
from app.domain.paging import Page, PageRequest
from app.domain.triggers import checked_types
from app.services.receipts import NO_RECEIPT, Receipt
from app.services.receive_hook import HookDeps
from app.services.signing import make_secret, replace_secret
from app.services.submit import checked_spec
from workflows.cel import ExpressionError
from workflows.event_rules import check_filter, check_template

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class MadeTrigger:
    """A trigger; with the secret, shown this once, when it hears messages."""

    row: TriggerRow
    secret: str | None = field(default=None, repr=False)


def create_trigger(deps: HookDeps, actor: Actor, wanted: Values) -> MadeTrigger:
    """Make a trigger, active at once: it hears what happens from now on.

    Raises InvalidInput with each place, Conflict for its name, CapReached.
    """
    trigger_id = deps.submit.new_id()
    with deps.database.tenant(actor.tenant_id) as connection:
        values = _checked(deps, connection, actor, wanted)
        with caps.room(connection, actor.tenant_id, "triggers"):
            store.add(connection, actor.tenant_id, trigger_id, actor.user_id, values)
        secret = None
        if values["source"] == "inbound":
            secret = make_secret(
                OF_TRIGGERS, deps.box, deps.submit.new_id, connection, actor.tenant_id, trigger_id
            )
        _mark(connection, actor, trigger_id, values["name"], "active", "trigger.create", "trigger.created")
        made = _found(store.find(connection, actor.tenant_id, trigger_id))
    return MadeTrigger(made, secret)


def change_trigger(
    deps: HookDeps, actor: Actor, trigger_id: UUID, version: int | None, wanted: Values
) -> TriggerRow:
    """Change what `wanted` names; raises as `create_trigger`, or NotFound, PreconditionFailed."""
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, trigger_id, version)
        source = wanted.get("source", row["source"])
        if source != row["source"]:
            raise InvalidInput.at("/on", "source", "what it listens to is decided when it is made")
        values = _checked(deps, connection, actor, {**_columns(row), **wanted})
        store.change(connection, actor.tenant_id, trigger_id, values)
        _mark(
            connection, actor, trigger_id, values["name"], row["state"], "trigger.change", "trigger.changed"
        )
        return _found(store.find(connection, actor.tenant_id, trigger_id))


def delete_trigger(deps: HookDeps, actor: Actor, trigger_id: UUID, version: int | None) -> None:
    """Delete a trigger with its history; what it started goes on. Raises NotFound, PreconditionFailed."""
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, trigger_id, version)
        _mark(connection, actor, trigger_id, row["name"], "deleted", "trigger.delete", "trigger.deleted")
        store.delete(connection, actor.tenant_id, trigger_id)


def steer_trigger(
    deps: HookDeps,
    actor: Actor,
    trigger_id: UUID,
    verb: str,
    version: int | None = None,
    reason: str | None = None,
    receipt: Receipt = NO_RECEIPT,
) -> TriggerRow:
    """Pause or resume it (`verb`); once it is so, the same again changes nothing.

    What happens during the pause is not caught up. Raises NotFound, PreconditionFailed.
    """
    state = {"pause": "paused", "resume": "active"}[verb]
    with deps.database.tenant(actor.tenant_id) as connection:
        receipt.open(connection)
        row = _locked(connection, actor, trigger_id, version)
        if row["state"] != state:
            values = {"state": state, "pause_reason": reason if verb == "pause" else None}
            store.change(connection, actor.tenant_id, trigger_id, values, from_now=verb == "resume")
            done = {"pause": "trigger.paused", "resume": "trigger.resumed"}[verb]
            _mark(connection, actor, trigger_id, row["name"], state, f"trigger.{verb}", done)
            row = _found(store.find(connection, actor.tenant_id, trigger_id))
        receipt.close(connection, row)
    return row


def rotate_trigger_secret(
    deps: HookDeps, actor: Actor, trigger_id: UUID, version: int | None, overlap_s: float
) -> MadeTrigger:
    """Give it a new secret; messages signed by the one before are taken for `overlap_s` seconds more.

    Raises NotFound, PreconditionFailed, IllegalState for one that hears events.
    """
    with deps.database.tenant(actor.tenant_id) as connection:
        row = _locked(connection, actor, trigger_id, version)
        if row["source"] != "inbound":
            raise IllegalState("this trigger hears events: it has no secret")
        secret = replace_secret(
            OF_TRIGGERS, deps.box, deps.submit.new_id, connection, actor.tenant_id, trigger_id, overlap_s
        )
        store.change(connection, actor.tenant_id, trigger_id, {"state": row["state"]})
        _mark(connection, actor, trigger_id, row["name"], row["state"], "trigger.rotate", "trigger.changed")
        return MadeTrigger(_found(store.find(connection, actor.tenant_id, trigger_id)), secret)


def show_trigger(database: Database, actor: Actor, trigger_id: UUID) -> TriggerRow:
    """Return a trigger; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        return _found(store.find(connection, actor.tenant_id, trigger_id))


def list_triggers(
    database: Database, actor: Actor, wanted: PageRequest, state: str | None
) -> Page[TriggerRow]:
    """Return the triggers by name."""
    with database.tenant(actor.tenant_id) as connection:
        return store.page(connection, actor.tenant_id, wanted, state)


def list_trigger_firings(
    database: Database, actor: Actor, trigger_id: UUID, wanted: PageRequest
) -> Page[Values]:
    """Return what a trigger decided, the latest first; raises NotFound."""
    with database.tenant(actor.tenant_id) as connection:
        _found(store.find(connection, actor.tenant_id, trigger_id))
        return store.page_firings(connection, actor.tenant_id, trigger_id, wanted)


def _checked(deps: HookDeps, connection: Connection, actor: Actor, wanted: Values) -> dict[str, Any]:
    """Return the columns; raises InvalidInput for types, expressions, a spec that can never fit."""
    values = dict(wanted)
    if values["source"] == "events":
        values["types"] = checked_types(values.get("types") or [])
        if not values["types"]:
            raise InvalidInput.at("/on/types", "missing", "name the types of events to hear")
    elif values.get("types"):
        raise InvalidInput.at("/on/types", "unexpected", "messages that come in have no type")
    try:
        if values.get("filter") is not None:
            check_filter(values["filter"])
    except ExpressionError as error:
        raise InvalidInput.at("/on/filter", "bad_expression", str(error)) from error
    try:
        varies = check_template(values["spec"])
    except ExpressionError as error:
        raise InvalidInput.at("/spec", "bad_expression", str(error)) from error
    planned = deps.submit.types.find(
        connection, actor.tenant_id, values["type_name"], values.get("type_version")
    )
    if not varies:
        checked_spec(planned, values["spec"])
    return values


def _columns(row: TriggerRow) -> dict[str, Any]:
    kept = {**row, "type_name": row["type"]}
    return {name: kept[name] for name in store.CHANGEABLE if name not in ("state", "pause_reason")}


def _mark(
    connection: Connection,
    actor: Actor,
    trigger_id: UUID,
    name: str,
    state: str,
    action: str,
    event: str,
) -> None:
    about = {"trigger_id": str(trigger_id), "name": name, "state": state}
    store.emit(connection, actor.tenant_id, trigger_id, event, about, actor.as_json())
    mark = Mark(action, f"triggers/{trigger_id}", None, about)
    trail.leave(connection, actor.tenant_id, actor.as_json(), mark)


def _locked(connection: Connection, actor: Actor, trigger_id: UUID, version: int | None) -> TriggerRow:
    row = _found(store.find(connection, actor.tenant_id, trigger_id, locked=True))
    if version is not None and row["version"] != version:
        raise PreconditionFailed("the trigger was changed since")
    return row


def _found(row: TriggerRow | None) -> TriggerRow:
    if row is None:
        raise NotFound("no such trigger")
    return row
