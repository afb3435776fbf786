"""The built-in intent types with the workflows that realise them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from app.domain.errors import InvalidInput
from workflows.definition import Definition
from workflows.parsing import parse_definition, parse_text
from workflows.specs import check_schema


@dataclass(frozen=True, slots=True)
class IntentType:
    """A named, versioned kind of intent: the JSON Schema of its spec, the workflow that realises it."""

    name: str
    version: int
    mode: str
    description: str
    spec_schema: dict[str, Any]
    workflow_name: str
    workflow_version: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that is built in; `documents` holds each workflow as JSON by name and version."""

    workflows: tuple[Definition, ...]
    intent_types: tuple[IntentType, ...]
    documents: dict[tuple[str, int], dict[str, Any]]


@cache
def load_catalogue() -> Catalogue:
    """Read the catalogue from the package; raises InvalidInput for a file that is wrong."""
    workflows, types, documents = [], [], {}
    folder = files("workflows.catalog")
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if not entry.name.endswith(".yaml"):
            continue
        document = parse_text(entry.read_text("utf-8"))
        definition = parse_definition(document["workflow"])
        workflows.append(definition)
        documents[definition.name, definition.version] = document["workflow"]
        types.append(_intent_type(document["intent_type"], definition))
    return Catalogue(tuple(workflows), tuple(types), documents)


def _intent_type(document: dict[str, Any], workflow: Definition) -> IntentType:
    faults = check_schema(document["spec_schema"], "/intent_type/spec_schema")
    if faults:
        raise InvalidInput(faults)
    return IntentType(
        name=document["name"],
        version=document["version"],
        mode=document["mode"],
        description=document["description"],
        spec_schema=document["spec_schema"],
        workflow_name=workflow.name,
        workflow_version=workflow.version,
    )
