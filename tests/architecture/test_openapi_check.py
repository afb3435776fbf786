"""The OpenAPI check tells each seeded fault, passes the committed document."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from checks import openapi

Document = dict[str, Any]
RUN = "/api/v1/runs/{run_id}"


@pytest.fixture
def document() -> Document:
    found: Document = json.loads(openapi.COMMITTED.read_text())
    return found


def operation(document: Document) -> Document:
    found: Document = document["paths"][RUN]["get"]
    return found


def test_the_committed_document_has_no_fault(document: Document) -> None:
    assert list(openapi.faults(document)) == []


@pytest.mark.parametrize(
    ("seed", "words"),
    [
        (lambda d: operation(d)["responses"].update(default={"description": "anything"}), "catch-all"),
        (lambda d: operation(d).update(responses={"404": {"description": "gone"}}), "no success"),
        (lambda d: operation(d).pop("security"), "who may call"),
        (lambda d: operation(d).update(operationId=""), "operationId"),
        (
            lambda d: operation(d).update(parameters=[{"$ref": "#/components/parameters/Nowhere"}]),
            "leads nowhere",
        ),
        (lambda d: d["components"]["schemas"].update(Bad={"type": "no such type"}), "schemas/Bad"),
        (lambda d: d.update(info={}), "title"),
    ],
)
def test_each_seeded_fault_is_told(document: Document, seed: Callable[[Document], Any], words: str) -> None:
    seed(document)
    assert any(words in fault for fault in openapi.faults(document))


def test_a_document_that_is_not_what_is_served_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], document: Document
) -> None:
    monkeypatch.setattr(
        openapi, "served", lambda: {**document, "externalDocs": {"url": "https://example.org"}}
    )
    assert openapi.main([]) == 1
    assert "not what the API serves" in capsys.readouterr().out
