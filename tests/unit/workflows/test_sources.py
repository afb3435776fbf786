"""Definitions from the catalogue, from Python, from recorded workflows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.domain.errors import InvalidInput
from app.domain.modules import ModuleRegistry
from app.settings import inherited_environment
from tasks.operations import core, data, http
from workflows.builder import Workflow
from workflows.catalog import load_catalogue
from workflows.checks import check_definition, check_operation_schemas
from workflows.parsing import parse_definition, parse_text
from workflows.plan import compile_plan
from workflows.specs import validate_spec
from workflows.wfformat import read_wfformat

BUILT_IN = ModuleRegistry([core.module, http.module, data.module])
SPECS: dict[str, dict[str, Any]] = {
    "core.echo": {"message": [1]},
    "core.flaky": {"succeeds_at": 2},
    "core.sleep_chain": {"seconds": 0.1},
    "data.inventory": {"root": "/srv", "exclude": ["x"]},
    "demo.fan": {"width": 3, "seconds": 0},
    "http.request": {"url": "http://127.0.0.1:1/", "expect_status": [204]},
}


def test_the_catalogue_fits_the_built_in_operations() -> None:
    assert check_operation_schemas(BUILT_IN) == ()
    catalogue = load_catalogue()
    for definition in catalogue.workflows:
        check_definition(definition, BUILT_IN)
        compile_plan(definition, BUILT_IN)
    known = {(definition.name, definition.version) for definition in catalogue.workflows}
    for kind in catalogue.intent_types:
        assert kind.mode == "job"
        assert (kind.workflow_name, kind.workflow_version) in known
        assert validate_spec(kind.spec_schema, SPECS.get(kind.name, {})) == ()
    names = {kind.name for kind in catalogue.intent_types}
    assert {"bench.chain", "bench.chain3", "bench.fanout", "bench.fork", *SPECS} == names


def test_python_builds_what_yaml_says() -> None:
    flow = Workflow("greet.twice", 1, "Greets")
    flow.step("hello", "core.echo", message="${spec.name}")
    flow.step(
        "each",
        "core.echo",
        foreach=["a", "b"],
        max_parallel=1,
        message="${item}",
        retry={"attempts": 2},
        timeout=5,
    )
    flow.step(
        "end", "core.echo", needs=["hello"], when="spec.end", continue_on_failure=True, inputs={"message": 1}
    )
    flow.chain("hello", "each", "end")
    text = """
    name: greet.twice
    version: 1
    description: Greets
    steps:
      - {id: hello, uses: core.echo, with: {message: "${spec.name}"}}
      - id: each
        uses: core.echo
        needs: [hello]
        foreach: [a, b]
        max_parallel: 1
        with: {message: "${item}"}
        retry: {attempts: 2}
        timeout: 5
      - id: end
        uses: core.echo
        needs: [hello, each]
        when: spec.end
        continue_on_failure: true
        with: {message: 1}
    """
    assert flow.document() == parse_text(text)
    assert flow.definition() == parse_definition(parse_text(text))


def test_the_example_of_the_documents_is_right() -> None:
    page = (Path(__file__).parents[3] / "docs" / "workflows.md").read_text("utf-8")
    example = page.partition("```yaml\n")[2].partition("```")[0]
    check_definition(parse_definition(parse_text(example)), BUILT_IN)


def test_a_recorded_workflow_keeps_its_dependencies_and_scales_its_seconds() -> None:
    recorded = {
        "workflow": {
            "specification": {
                "tasks": [
                    {"id": "Split-1", "parents": [], "children": ["Work-1"]},
                    {"id": "Work-1", "parents": [], "children": []},
                    {"id": "Join", "parents": ["Split-1", "Work-1"], "children": []},
                ]
            },
            "execution": {"tasks": [{"id": "Split-1", "runtimeInSeconds": 2.0}]},
        }
    }
    document = read_wfformat(recorded, name="wf.test", scale=0.1)
    first, second, join = document["steps"]
    assert (first["id"], first["with"]) == ("t0_split_1", {"seconds": 0.2})
    assert (second["needs"], join["needs"]) == (["t0_split_1"], ["t0_split_1", "t1_work_1"])
    check_definition(parse_definition(document), BUILT_IN)
    recorded["workflow"]["specification"]["tasks"][0]["children"] = ["Gone"]
    for broken in (recorded, {}, {"workflow": []}):
        with pytest.raises(InvalidInput):
            read_wfformat(broken, name="wf.test", scale=1)


@pytest.mark.skipif(
    "WFINSTANCES" not in inherited_environment(), reason="WFINSTANCES names no folder of recordings"
)
def test_recorded_workflows_compile() -> None:
    for path in sorted(Path(inherited_environment()["WFINSTANCES"]).glob("*.json")):
        recorded = json.loads(path.read_text("utf-8"))
        definition = parse_definition(read_wfformat(recorded, name="wf.recorded", scale=0.001))
        check_definition(definition, BUILT_IN)
        assert len(compile_plan(definition, BUILT_IN).steps) == len(
            recorded["workflow"]["specification"]["tasks"]
        )
