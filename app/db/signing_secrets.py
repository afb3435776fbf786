"""Secrets that sign messages, sealed, several of one owner while one replaces another."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class SealedSigner:
    """A signing secret at rest."""

    id: UUID
    nonce: bytes
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SigningSecrets:
    """The secrets of one kind of owner; `relation` keeps them, `column` names the owner."""

    kind: str
    relation: str
    column: str

    def name_of(self, owner: UUID, secret_id: UUID) -> str:
        """Return the name that binds a sealed secret to its place."""
        return f"{self.kind}/{owner}/{secret_id}"

    def add(self, connection: Connection, tenant_id: UUID, owner: UUID, sealed: SealedSigner) -> None:
        """Add the secret that signs from now on."""
        statement = (
            f"INSERT INTO {self.relation} (tenant_id, {self.column}, id, nonce, ciphertext)"  # noqa: S608 - our own constants
            " VALUES (:tenant, :owner, :id, :nonce, :ciphertext)"
        )
        values = {"id": sealed.id, "nonce": sealed.nonce, "ciphertext": sealed.ciphertext}
        connection.execute(text(statement), {"tenant": tenant_id, "owner": owner, **values})

    def end(self, connection: Connection, tenant_id: UUID, owner: UUID, overlap_s: float, keep: int) -> None:
        """Let the present one end after the overlap; forget those that ended, all but the last `keep`."""
        values = {
            "tenant": tenant_id,
            "owner": owner,
            "overlap": timedelta(seconds=overlap_s),
            "keep": keep,
        }
        connection.execute(
            text(
                f"UPDATE {self.relation} SET expires_at = least(expires_at, clock_timestamp() + :overlap)"  # noqa: S608 - as above
                f" WHERE tenant_id = :tenant AND {self.column} = :owner"
            ),
            values,
        )
        connection.execute(
            text(
                f"DELETE FROM {self.relation} s WHERE s.tenant_id = :tenant AND s.{self.column} = :owner"  # noqa: S608 - as above
                " AND (s.expires_at <= clock_timestamp() OR s.id NOT IN ("
                f"  SELECT k.id FROM {self.relation} k"
                f"  WHERE k.tenant_id = :tenant AND k.{self.column} = :owner"
                "  ORDER BY k.id DESC LIMIT :keep))"
            ),
            values,
        )

    def delete_all(self, connection: Connection, tenant_id: UUID) -> list[UUID]:
        """Remove the secrets of all owners of the tenant; return these owners."""
        statement = (
            f"WITH gone AS (DELETE FROM {self.relation}"  # noqa: S608 - as above
            f" WHERE tenant_id = :tenant RETURNING {self.column} AS id)"
            " SELECT DISTINCT id FROM gone ORDER BY id"
        )
        return list(connection.execute(text(statement), {"tenant": tenant_id}).scalars())

    def present(self, connection: Connection, tenant_id: UUID, owner: UUID) -> list[SealedSigner]:
        """Return the secrets that sign now, the latest first."""
        statement = (
            f"SELECT id, nonce, ciphertext FROM {self.relation}"  # noqa: S608 - as above
            f" WHERE tenant_id = :tenant AND {self.column} = :owner"
            " AND (expires_at IS NULL OR expires_at > clock_timestamp()) ORDER BY id DESC"
        )
        rows = connection.execute(text(statement), {"tenant": tenant_id, "owner": owner})
        return [SealedSigner(row.id, bytes(row.nonce), bytes(row.ciphertext)) for row in rows]


OF_WEBHOOKS: Final = SigningSecrets("webhook", "webhook_secrets", "webhook_id")
OF_TRIGGERS: Final = SigningSecrets("trigger", "trigger_secrets", "trigger_id")
