"""Mutants of the planner."""

from tests.mutants.mutant import Mutant

ANY_GRAPH = (
    "tests/unit/workflows/test_segments.py::test_any_graph_runs_each_step_once_and_without_needless_waiting"
)

MUTANTS = [
    Mutant(
        "a chord starts its body before all needs of the join",
        "workflows/segments.py",
        "            if exclusive and 1 < len(needs) <= MAX_HEADER:\n",
        "            if 1 < len(needs) <= MAX_HEADER:\n",
        "tests/unit/workflows/test_segments.py::test_what_is_not_exclusive_travels_alone",
    ),
    Mutant(
        "a chain runs over a step that has other needs",
        "workflows/segments.py",
        "or self._graph.reduced_needs[successor] != (step,):",
        "or step not in self._graph.reduced_needs[successor]:",
        ANY_GRAPH,
    ),
    Mutant(
        "a chord of a part of a fan's items",
        "workflows/segments.py",
        "or len(keys) != count or count > MAX_HEADER",
        "or count > MAX_HEADER",
        "tests/unit/workflows/test_segments.py::test_items_of_a_fan_are_a_chord_when_one_plain_step_needs_the_fan_alone",
    ),
    Mutant(
        "a ready step is carried behind another one too",
        "workflows/segments.py",
        "_Planner(graph, frozenset(fans).union(heads, conditional))",
        "_Planner(graph, frozenset(fans).union(conditional))",
        "tests/unit/workflows/test_segments.py::test_a_ready_step_behind_another_is_carried_once",
    ),
    Mutant(
        "signatures take the result of the step before",
        "workflows/canvas.py",
        "        immutable=True,\n",
        "        immutable=False,\n",
        "tests/unit/workflows/test_canvas.py::test_the_canvas_equals_its_golden_and_what_celery_builds",
    ),
    Mutant(
        "validators fetch references",
        "workflows/specs.py",
        "    if remote:\n",
        "    if remote and not remote:\n",
        "tests/unit/workflows/test_specs.py::test_references_out_of_the_document_are_refused",
    ),
    Mutant(
        "a step may read one that it does not wait for",
        "workflows/checks.py",
        "        elif not graph.is_ancestor(ref, step.id):\n",
        "        elif ref == step.id:\n",
        "tests/unit/workflows/test_checks.py::test_each_fault_has_its_place",
    ),
    Mutant(
        "secrets are put into what is stored",
        "workflows/decisions.py",
        "    if isinstance(value, SecretText):\n        return str(value)\n",
        "    if isinstance(value, SecretText):\n        return value\n",
        "tests/unit/workflows/test_decisions.py::test_secrets_are_named_in_what_is_stored_and_put_in_by_the_worker_only",
    ),
    Mutant(
        "a range loops without bound",
        "workflows/cel.py",
        "    if count < 0 or left < 0:\n",
        "    if count < 0:\n",
        "tests/unit/workflows/test_decisions.py::test_refused_when_evaluated",
    ),
]
