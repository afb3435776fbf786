"""The receipt of a request: how a use case lets its caller's answer become part of its own commit."""

from __future__ import annotations

from typing import Any, Protocol

from app.db.engine import Connection


class Receipt(Protocol):
    """What a creating use case calls inside its one transaction."""

    def open(self, connection: Connection) -> None:
        """Claim the request first of all; raises when it was answered before, or is being answered."""

    def close(self, connection: Connection, result: Any) -> None:
        """Keep the answer made from `result`, last before the commit."""


class NoReceipt:
    """The receipt of a caller that does not repeat its requests."""

    def open(self, connection: Connection) -> None:
        """Claim nothing."""

    def close(self, connection: Connection, result: Any) -> None:
        """Keep nothing."""


NO_RECEIPT = NoReceipt()
