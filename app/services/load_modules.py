"""The discovery of the modules installed on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points

from app.domain.modules import Module, ModuleRegistry
from workflows.checks import check_operation_schemas

GROUP = "quantum.modules"


class ModuleNotLoaded(RuntimeError):
    """An installed or configured module cannot be imported, is no `Module`, or has a bad schema."""


def load_modules(extra: Sequence[str] = ()) -> tuple[Module, ...]:
    """Import the modules of the entry-point group `quantum.modules`, then those named in `extra`.

    `extra` holds entries like `package.file:attribute`. The same object found twice counts once. Raises
    ModuleNotLoaded, or ValueError when two modules share a name: an installation that lacks an operation must
    not start as if nothing were wrong.
    """
    found = list(entry_points(group=GROUP))
    found += [EntryPoint(name=reference, value=reference, group=GROUP) for reference in extra]
    modules = tuple(dict.fromkeys(_load(entry) for entry in found))
    faults = check_operation_schemas(ModuleRegistry(modules))
    if faults:
        raise ModuleNotLoaded("; ".join(f"{fault.pointer}: {fault.message}" for fault in faults))
    return modules


def _load(entry: EntryPoint) -> Module:
    try:
        loaded = entry.load()
    except Exception as error:
        raise ModuleNotLoaded(f"module {entry.value!r} cannot be imported: {error}") from error
    if not isinstance(loaded, Module):
        raise ModuleNotLoaded(f"{entry.value!r} is a {type(loaded).__name__}, not a Module")
    return loaded
