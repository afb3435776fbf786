"""What the HTTP application is wired with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from app.api.limits import TenantLimits
from app.db.engine import Database
from app.db.gauges import Gauge
from app.db.replica import Replica
from app.security.audit_chain import AuditKey
from app.security.keys import SigningKeys
from app.security.secret_box import SecretBox
from app.services.flags import Flags
from app.services.maintenance import MaintenanceSign
from app.services.manage_webhooks import WebhookDeps
from app.services.manage_workflows import Installed
from app.services.ports import BrokerLook
from app.services.receive_hook import HookDeps
from app.services.standing import Standings
from app.services.submit import SubmitDeps

Probe = Callable[[], object]
"""Raises when the part it looks at is down."""


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Everything a route may reach; built by bootstrap, replaced piecewise in tests."""

    database: Database
    """Sessions of the app role."""
    platform: Database
    """Sessions of the system role, for the tenants routes only."""
    keys: SigningKeys
    box: SecretBox
    audit_key: AuditKey
    installed: Installed
    submit: SubmitDeps
    limits: TenantLimits
    standings: Standings
    webhooks: WebhookDeps
    hooks: HookDeps
    hook_limits: TenantLimits
    """Counts messages that come in, by sender, by trigger."""
    flags: Flags
    sign: MaintenanceSign
    broker: BrokerLook
    release: str
    """The version of the running code."""
    gauges: Callable[[], Sequence[Gauge]] = tuple
    """What is read for each scrape of the metrics."""
    replica: Replica | None = None
    """Where what is shown may be read instead, while that is new enough."""
    flower_url: str = ""
    feed_url: str = ""
    """Where the live feed is reached."""
    probes: Mapping[str, Probe] = field(default_factory=dict)
    required: frozenset[str] = frozenset({"database"})
    """Probes without which the API is not ready; the others only degrade it."""
