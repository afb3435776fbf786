"""Modules, the registered components whose operations the steps execute."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from uuid import UUID

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


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """One operation as registered: `name` is `module.operation`, `timeout_s` the soft limit in seconds."""

    name: str
    module: str
    summary: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    timeout_s: float
    queue: str
    idempotent: bool
    function: OperationFunction = field(compare=False, repr=False)

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
    ) -> Callable[[F], F]:
        """Register the decorated function, called as `function(context, **input)`, under `name`.

        Raises ValueError for a bad or repeated name, or a time-out that is not positive.
        """
        if not NAME.fullmatch(name):
            raise ValueError(f"operation name {name!r} must match {NAME.pattern}")
        qualified = f"{self.name}.{name}"
        if qualified in self._operations:
            raise ValueError(f"operation {qualified} is registered twice")
        if timeout_s <= 0:
            raise ValueError(f"operation {qualified} needs a positive timeout_s, not {timeout_s}")

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
