"""Messages that come in: verified by the trigger's secret, decided once, started in the same commit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from app.db import tenants
from app.db import triggers as store
from app.db.engine import Database
from app.db.signing_secrets import OF_TRIGGERS
from app.domain.errors import InvalidInput, Unauthenticated
from app.domain.triggers import FILTERED, Firing, Heard
from app.observability.metrics import TRIGGERS_FIRED
from app.security.secret_box import SecretBox
from app.security.webhook_signature import SignatureRefused, new_secret, verify
from app.services.fire_triggers import decide
from app.services.signing import present_secrets
from app.services.submit import SubmitDeps, send_accepted

_NOBODY: Final = new_secret()
"""What a message to a place that does not exist is verified by, so that it takes as long."""
REFUSED: Final = "no trigger here takes this message: wrong path, signature or time"


@dataclass(frozen=True, slots=True)
class Message:
    """A signed message as it came: headers in lower case, the body's bytes, the time in seconds."""

    headers: Mapping[str, str]
    body: bytes
    now: float


@dataclass(frozen=True, slots=True)
class HookDeps:
    """What the receiving needs."""

    submit: SubmitDeps
    database: Database
    box: SecretBox


def receive_message(
    deps: HookDeps,
    slug: str,
    name: str,
    message: Message,
    parse: Callable[[bytes], Any],
    permit: Callable[[UUID, UUID], None],
) -> Mapping[str, Any]:
    """Decide about a message, once for each of its webhook-ids; return the firing.

    Whatever is wrong with path, signature or time gives the same Unauthenticated. Raises what `permit` (of
    the tenant's trigger) and `parse` raise, InvalidInput when the intent is refused: then the same message
    may come again. Raises KeyMissing when the trigger's secrets hang on a key that is not at hand.
    """
    found = _trusted(deps, slug, name, message)
    if found is None:
        raise Unauthenticated(REFUSED)
    tenant_id, trigger_id, message_id = found
    permit(tenant_id, trigger_id)
    data = parse(message.body)
    if not isinstance(data, dict):
        raise InvalidInput.at("", "type", "a message is a JSON object")
    epoch = deps.submit.outbox.epoch()
    with deps.database.tenant(tenant_id) as connection:
        row = store.find_inbound(connection, tenant_id, name, locked=True)
        if row is None or row["id"] != trigger_id:
            raise Unauthenticated(REFUSED)  # paused or deleted since
        known = store.known(connection, tenant_id, trigger_id, message_id)
        if known is not None:
            return known
        heard = Heard(
            message_id,
            f"inbound.{name}",
            f"hooks/{name}",
            datetime.fromtimestamp(message.now, UTC),
            data,
            origin=f"hooks/{name}/{message_id}",  # senders choose their ids: another's may be the same
        )
        firings, accepted = decide(deps.submit, connection, tenant_id, [(row, heard)], epoch)
        firing = firings[0] if firings else Firing(trigger_id, heard, "skipped", FILTERED)
        if firing.outcome == "failed":
            raise InvalidInput.at("", "refused", str(firing.reason))
        store.note(connection, tenant_id, [firing])
        decided = store.known(connection, tenant_id, trigger_id, message_id)
        assert decided is not None, "the firing was written in this transaction"
    send_accepted(deps.submit, tenant_id, accepted)
    TRIGGERS_FIRED.labels("inbound", firing.outcome).inc()
    return decided


def _trusted(deps: HookDeps, slug: str, name: str, message: Message) -> tuple[UUID, UUID, str] | None:
    """Return tenant, trigger, message id when a present secret of that trigger signed the message."""
    with deps.database.anonymous() as connection:
        tenant = tenants.resolve(connection, slug)
    secrets: list[str] = [_NOBODY]
    row = None
    if tenant is not None and tenant.state == "active":
        with deps.database.tenant(tenant.id) as connection:
            row = store.find_inbound(connection, tenant.id, name, locked=False)
            if row is not None:
                secrets = present_secrets(OF_TRIGGERS, deps.box, connection, tenant.id, row["id"])
    try:
        message_id = verify(secrets, message.headers, message.body, message.now)
    except SignatureRefused:
        return None
    return (tenant.id, row["id"], message_id) if tenant is not None and row is not None else None
