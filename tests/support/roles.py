"""One database as each role sees it."""

from __future__ import annotations

from uuid import UUID, uuid4

from app.db.engine import Database
from app.db.ids import new_id
from tests.support.servers import DatabaseUrls


class RoleDatabases:
    """The connections of the app, of the system, of the superuser who arranges what no role may."""

    def __init__(self, urls: DatabaseUrls) -> None:
        self.urls = urls
        self.app = Database(urls.app)
        self.system = Database(urls.system, "system")
        self.admin = Database(urls.admin, "admin")

    def close(self) -> None:
        """Let go of the connections of all roles."""
        for database in (self.app, self.system, self.admin):
            database.dispose()

    def new_tenant(self) -> UUID:
        """Add a tenant; return its id."""
        tenant = new_id()
        self.system.call(
            "INSERT INTO tenants (id, slug, name) VALUES (%s, %s, 'T')", (tenant, f"t-{uuid4().hex[:20]}")
        )
        return tenant
