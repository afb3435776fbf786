"""Feature flags as the platform asks for them: OpenFeature over the database's rules."""

# ruff: noqa: ARG002 - OpenFeature's provider names its arguments, also those that a refusal does not read
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol
from uuid import UUID

from openfeature import api
from openfeature.client import OpenFeatureClient
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, TargetingKeyMissingError, TypeMismatchError
from openfeature.flag_evaluation import FlagResolutionDetails, FlagValueType, Reason
from openfeature.provider import AbstractProvider, Metadata

from app.domain.errors import SwitchedOff, Unavailable
from app.domain.flags import FLAGS, Decision, FlagRule, decide
from app.observability.logging import get_log
from app.observability.metrics import FLAG_DECISIONS, CacheLooks

KEPT_S: Final = 5.0
"""How long a tenant's rules are kept: within it a kill switch may not be felt yet."""
_KEPT: Final = 10_000
"""Tenants remembered; beyond that all are forgotten at once."""

_LOOKS: Final = CacheLooks("flag_rules")
_BOOLEAN: Final = "every flag is on or off"

Rules = Mapping[str, tuple[FlagRule, bool | None]]
log = get_log(__name__)


class Store(Protocol):
    """Where the rules are."""

    def rules(self, tenant_id: UUID) -> Rules:
        """Return the rules that were set, each with the tenant's override; raises Unavailable."""


class RuleBook:
    """The rules of each tenant, read at most once in `KEPT_S` seconds."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._kept: dict[UUID, tuple[float, Rules]] = {}

    def decide(self, name: str, tenant_id: UUID) -> Decision:
        """Return the decision for a tenant; while the database is away by what was known last, or defaults.

        Raises LookupError for a flag that is not declared.
        """
        rule, override = self._rules(tenant_id).get(name, (FlagRule(), None))
        return decide(FLAGS[name], rule, override, tenant_id)

    def _rules(self, tenant_id: UUID) -> Rules:
        now = self._clock()
        kept = self._kept.get(tenant_id)
        fresh = kept is not None and now - kept[0] < KEPT_S
        _LOOKS.count(hit=fresh)
        if kept is not None and fresh:
            return kept[1]
        try:
            rules = self._store.rules(tenant_id)
        except Unavailable:
            log.warning("flags_wait_for_database")
            rules = kept[1] if kept is not None else {}
        if len(self._kept) >= _KEPT:
            self._kept.clear()
        self._kept[tenant_id] = (now, rules)
        return rules


class DatabaseProvider(AbstractProvider):
    """The OpenFeature provider over a rule book: boolean flags, targeted by tenant.

    The interface is that of https://openfeature.dev/specification/sections/providers.
    """

    def __init__(self, book: RuleBook) -> None:
        super().__init__()
        self._book = book

    def get_metadata(self) -> Metadata:
        """Name the provider."""
        return Metadata("quantum-database")

    def resolve_boolean_details(
        self, flag_key: str, default_value: bool, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[bool]:
        """Decide a flag for the tenant that the targeting key names; raises OpenFeatureError."""
        if flag_key not in FLAGS:
            raise FlagNotFoundError(f"no flag is called {flag_key}")
        if evaluation_context is None or not evaluation_context.targeting_key:
            raise TargetingKeyMissingError("a flag is decided for a tenant")
        decision = self._book.decide(flag_key, UUID(evaluation_context.targeting_key))
        variant = "on" if decision.on else "off"
        return FlagResolutionDetails(decision.on, reason=Reason(decision.why.value), variant=variant)

    def resolve_string_details(
        self, flag_key: str, default_value: str, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[str]:
        """Refuse: flags here are on or off."""
        raise TypeMismatchError(_BOOLEAN)

    def resolve_integer_details(
        self, flag_key: str, default_value: int, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[int]:
        """Refuse: flags here are on or off."""
        raise TypeMismatchError(_BOOLEAN)

    def resolve_float_details(
        self, flag_key: str, default_value: float, evaluation_context: EvaluationContext | None = None
    ) -> FlagResolutionDetails[float]:
        """Refuse: flags here are on or off."""
        raise TypeMismatchError(_BOOLEAN)

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Sequence[FlagValueType] | Mapping[str, FlagValueType],
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Sequence[FlagValueType] | Mapping[str, FlagValueType]]:
        """Refuse: flags here are on or off."""
        raise TypeMismatchError(_BOOLEAN)


class Switches(Protocol):
    """What a service asks whether it may do what can be switched off."""

    def on(self, name: str, tenant_id: UUID) -> bool:
        """Tell whether a declared flag is on for a tenant; never raises for a database that is away."""


class Flags:
    """The flags of this process, asked through OpenFeature so that its hooks see each decision."""

    def __init__(self, book: RuleBook) -> None:
        domain = f"quantum-{id(self)}"  # the registry is the process's: another wiring has another book
        api.set_provider_and_wait(DatabaseProvider(book), domain)
        self._client: OpenFeatureClient = api.get_client(domain)

    def on(self, name: str, tenant_id: UUID) -> bool:
        """Tell whether a declared flag is on for a tenant; raises LookupError for another name."""
        found = self._client.get_boolean_details(
            name, FLAGS[name].default, EvaluationContext(targeting_key=str(tenant_id))
        )
        FLAG_DECISIONS.labels(name, "on" if found.value else "off").inc()
        return found.value

    def require(self, name: str, tenant_id: UUID) -> None:
        """Return when a flag is on for a tenant; raises SwitchedOff."""
        if not self.on(name, tenant_id):
            raise SwitchedOff(name)


class Defaults:
    """Every flag as it is declared, where nobody can set rules."""

    def on(self, name: str, tenant_id: UUID) -> bool:
        """Tell the declared default."""
        return FLAGS[name].default
