"""The wiring of what keeps: databases by role, artifacts, secrets, flags, usage."""

from __future__ import annotations

from app.artifacts.choice import artifact_store
from app.db.engine import Database
from app.db.flags import FlagStore
from app.db.replica import Replica, ReplicaRules
from app.db.usage import UsageModels
from app.security.audit_chain import AuditKey
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.artifacts import Artifacts
from app.services.flags import Flags, RuleBook
from app.settings import Settings


def build_database(settings: Settings) -> Database:
    """Return the database as the app role sees it."""
    return Database(settings.database_url)


def build_platform(settings: Settings) -> Database:
    """Return the database as the system role sees it: for the named jobs across tenants."""
    return Database(settings.database_system_url, "system")


def build_replica(settings: Settings, primary: Database) -> Replica | None:
    """Return the replica of `primary` for reads, if the settings name one."""
    if not settings.database_replica_url:
        return None
    rules = ReplicaRules(max_lag_s=settings.replica_max_lag_s)
    return Replica(settings.database_replica_url, primary, rules)


def build_artifacts(settings: Settings) -> Artifacts:
    """Return what keeps values and files that are too large for a row."""
    return Artifacts(artifact_store(settings), settings.artifact_max_bytes)


def build_flags(database: Database) -> Flags:
    """Return the feature flags as the app role reads them."""
    return Flags(RuleBook(FlagStore(database)))


def build_usage(settings: Settings) -> UsageModels:
    """Return the read models of usage, for those who rebuild or compare them."""
    return UsageModels(build_platform(settings))


def build_box(settings: Settings) -> SecretBox:
    """Return what seals the secrets of tenants."""
    return SecretBox(KeyRing(settings.secrets_keys))


def build_audit_key(settings: Settings) -> AuditKey:
    """Return the key of the chain over the audit trail."""
    return AuditKey(KeyRing(settings.secrets_keys))
