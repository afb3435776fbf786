"""Modules, the registered components whose operations the steps execute."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

from app.domain.errors import OperationFailed

OperationFunction = Callable[..., Any]
F = TypeVar("F", bound=OperationFunction)

NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
OBJECT: Mapping[str, Any] = {"type": "object"}


class UnknownOperation(LookupError):
    """No installed module has an operation of this name."""


class StepLog(Protocol):
    """The structured logger of an operation: constant event names, data in keywords."""

    def info(self, event: str, **fields: Any) -> Any:
        """Record a fact."""

    def warning(self, event: str, **fields: Any) -> Any:
        """Record something an operator may want to see."""

    def error(self, event: str, **fields: Any) -> Any:
        """Record a fault."""


class Heartbeat(Protocol):
    """Tells how far an operation is; it may be called as often as there is news, and never fails."""

    def __call__(self, progress: float | None = None, message: str | None = None) -> None:
        """Report `progress` from 0 to 1, and what is being done in a few words; None leaves one as it was."""


class ArtifactAccess(Protocol):
    """Files that an operation leaves behind, or gets by reference."""

    def put(self, content: bytes | Path, content_type: str = ...) -> dict[str, Any]:
        """Keep the content; return the reference `{"$artifact": …}`, to be part of the output."""

    def read(self, reference: Mapping[str, Any]) -> bytes:
        """Return the content that a reference means."""


class NoArtifacts:
    """The access of an operation that is called without a run: there is nothing."""

    def put(self, content: bytes | Path, content_type: str = "") -> dict[str, Any]:  # noqa: ARG002 - the protocol's
        """Refuse; raises OperationFailed."""
        raise OperationFailed("artifact_store_missing", "there is no artifact store here", retryable=False)

    def read(self, reference: Mapping[str, Any]) -> bytes:  # noqa: ARG002 - the protocol's
        """Refuse; raises OperationFailed."""
        raise OperationFailed("artifact_store_missing", "there is no artifact store here", retryable=False)


NO_ARTIFACTS = NoArtifacts()


def no_heartbeat(progress: float | None = None, message: str | None = None) -> None:
    """Take a report that nobody reads."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What the operator lets operations reach: private `host:port` targets, folders to read."""

    allowed_http_targets: tuple[str, ...] = ()
    data_roots: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class OperationContext:
    """Facts about the step that an operation executes; `idempotency_key` is equal on automatic repeats."""

    tenant_id: UUID
    run_id: UUID
    step: str
    item: int | None
    attempt: int
    idempotency_key: str
    timeout_s: float
    cancelled: Callable[[], bool]
    resources: Resources
    log: StepLog
    heartbeat: Heartbeat = no_heartbeat
    artifacts: ArtifactAccess = NO_ARTIFACTS


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """One operation as registered: `name` is `module.operation`, `timeout_s` the soft limit in seconds.

    `version` is the module's; `cacheable_s` is how many seconds its results may be used again, None never.
    """

    name: str
    module: str
    summary: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    timeout_s: float
    queue: str
    idempotent: bool
    function: OperationFunction = field(compare=False, repr=False)
    version: str = ""
    cacheable_s: float | None = None

    def manifest(self) -> dict[str, Any]:
        """Return the operation as JSON, without its code."""
        return {
            "name": self.name,
            "summary": self.summary,
            "input_schema": dict(self.input_schema),
            "output_schema": dict(self.output_schema) if self.output_schema is not None else None,
            "timeout_s": self.timeout_s,
            "queue": self.queue,
            "idempotent": self.idempotent,
            "cacheable_s": self.cacheable_s,
        }


class Module:
    """A named, versioned set of operations; packages offer one under the entry-point group `quantum.modules`.

    Raises ValueError when the name is not a lower-case identifier.
    """

    def __init__(self, name: str, version: str, description: str = "") -> None:
        if not NAME.fullmatch(name):
            raise ValueError(f"module name {name!r} must match {NAME.pattern}")
        self.name = name
        self.version = version
        self.description = description
        self._operations: dict[str, OperationSpec] = {}

    @property
    def operations(self) -> tuple[OperationSpec, ...]:
        """The operations in the order of registration."""
        return tuple(self._operations.values())

    def operation(
        self,
        name: str,
        *,
        input_schema: Mapping[str, Any] = OBJECT,
        output_schema: Mapping[str, Any] | None = None,
        timeout_s: float = 300,
        queue: str = "default",
        idempotent: bool = True,
        cacheable_s: float | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function, called as `function(context, **input)`, under `name`.

        `cacheable_s` is for one whose output follows from its input alone: so many seconds long identical
        steps of a tenant use a result again. Raises ValueError for a bad or repeated name, or for a time
        that is not positive.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"operation name {name!r} must match {NAME.pattern}")
        qualified = f"{self.name}.{name}"
        if qualified in self._operations:
            raise ValueError(f"operation {qualified} is registered twice")
        if timeout_s <= 0:
            raise ValueError(f"operation {qualified} needs a positive timeout_s, not {timeout_s}")
        if cacheable_s is not None and cacheable_s <= 0:
            raise ValueError(f"operation {qualified} needs a positive cacheable_s, not {cacheable_s}")

        def register(function: F) -> F:
            summary = (function.__doc__ or "").strip().partition("\n")[0]
            self._operations[qualified] = OperationSpec(
                qualified,
                self.name,
                summary,
                input_schema,
                output_schema,
                timeout_s,
                queue,
                idempotent,
                function,
                self.version,
                cacheable_s,
            )
            return function

        return register

    def manifest(self) -> dict[str, Any]:
        """Return the module as JSON: name, version, description, operations."""
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "operations": [operation.manifest() for operation in self.operations],
        }


class ModuleRegistry:
    """The modules of this installation; raises ValueError when two share a name."""

    def __init__(self, modules: Iterable[Module]) -> None:
        self._modules: dict[str, Module] = {}
        for module in modules:
            if module.name in self._modules:
                raise ValueError(f"two installed modules are called {module.name!r}")
            self._modules[module.name] = module
        self._operations = {
            spec.name: spec for module in self._modules.values() for spec in module.operations
        }

    @property
    def modules(self) -> tuple[Module, ...]:
        """The modules ordered by name."""
        return tuple(self._modules[name] for name in sorted(self._modules))

    def find(self, name: str) -> OperationSpec | None:
        """Return the operation called `module.operation`, or None."""
        return self._operations.get(name)

    def operation(self, name: str) -> OperationSpec:
        """Return the operation called `module.operation`; raises UnknownOperation."""
        spec = self._operations.get(name)
        if spec is None:
            raise UnknownOperation(f"no installed module has an operation {name!r}")
        return spec

    def manifests(self) -> tuple[dict[str, Any], ...]:
        """Return the manifest of each module ordered by name."""
        return tuple(module.manifest() for module in self.modules)
