"""The documents' examples of workflows, checked as the API does, then submitted."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from app.services.library import WorkflowLibrary
from tests.support.rig import Rig
from workflows.catalog import Catalogue
from workflows.checks import check_definition
from workflows.parsing import parse_definition, parse_text

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str, /, **changes: Any) -> dict[str, Any]:
    """Return the workflow of docs/examples of that name, with other members in place of its own."""
    return {**parse_text((EXAMPLES / f"{name}.yaml").read_text()), **changes}


def submit_example(rig: Rig, name: str, spec: Any, /, *children: str, **changes: Any) -> UUID:
    """Submit one intent of an example whose steps run the examples `children`; return its run."""
    documents = [example(name, **changes), *map(example, children)]
    definitions = tuple(map(parse_definition, documents))
    check_definition(
        definitions[0], rig.registry, WorkflowLibrary(Catalogue(definitions, (), {}), rig.registry)
    )
    return rig.submit_definition(documents[0], spec, children=documents[1:])
