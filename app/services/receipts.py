"""The receipt of a request: how a use case lets its caller's answer become part of its own commit."""

from __future__ import annotations

from typing import Any, Protocol

from app.db.engine import Connection
from app.db.intake import Acceptance, Kept


class Receipt(Protocol):
    """What a creating use case calls inside its one transaction.

    A use case that is one statement asks for what to keep before it, shows what became of it behind it.
    """

    def open(self, connection: Connection) -> None:
        """Claim the request first of all; raises when it was answered before, or is being answered."""

    def close(self, connection: Connection, result: Any) -> None:
        """Keep the answer made from `result`, last before the commit."""

    def before(self, result: Any) -> Kept | None:
        """Return the answer made from `result` for the statement to keep; raises what the answer would be."""

    def after(self, acceptance: Acceptance) -> None:
        """Raise when the request was answered before, or is being answered."""


class NoReceipt:
    """The receipt of a caller that does not repeat its requests."""

    def open(self, connection: Connection) -> None:
        """Claim nothing."""

    def close(self, connection: Connection, result: Any) -> None:
        """Keep nothing."""

    def before(self, result: Any) -> None:
        """Keep nothing."""

    def after(self, acceptance: Acceptance) -> None:
        """Look at nothing: without a key nothing is repeated."""


NO_RECEIPT = NoReceipt()
