"""The look-up of a tenant's secrets at the last moment before an operation uses them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.domain.errors import OperationFailed
from app.observability.masking import mask_values

SecretReader = Callable[[UUID, Sequence[str]], Mapping[str, str]]
"""Decrypts the named secrets of the tenant; a name that does not exist is left out."""


@dataclass(frozen=True, slots=True)
class ResolvedSecrets:
    """Plain secrets of one step: kept in memory while it runs, never stored, never shown."""

    values: Mapping[str, str] = field(repr=False)

    def mask(self, value: Any) -> Any:
        """Return the JSON value with every secret of the step replaced by `***`."""
        return mask_values(value, self.values.values())


NO_SECRETS = ResolvedSecrets({})


def resolve_secrets(reader: SecretReader, tenant_id: UUID, names: Sequence[str]) -> ResolvedSecrets:
    """Return the plain values of the named secrets; no name costs no look-up.

    Raises OperationFailed (`secret_missing`, not retryable) that tells the names which do not exist.
    """
    if not names:
        return NO_SECRETS
    values = dict(reader(tenant_id, names))
    missing = sorted(set(names) - values.keys())
    if missing:
        raise OperationFailed("secret_missing", f"no such secret: {', '.join(missing)}", retryable=False)
    return ResolvedSecrets(values)
