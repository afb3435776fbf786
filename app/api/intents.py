"""Intents: declared, listed, shown with their generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from flask import Response

from app.api.dumping import compiled
from app.api.errors import document_of
from app.api.etags import etag_of
from app.api.idempotency import Rendered, answer_once, dumped
from app.api.paging import PageArgs, page_document, page_request
from app.api.reading import source
from app.api.request_context import actor, parts
from app.api.routes import PREFIX, Blueprint, endpoint
from app.api.schemas.common import ProblemRef, page_of
from app.api.schemas.intents import (
    AcceptedSchema,
    BatchAnswerSchema,
    BatchSchema,
    GenerationSchema,
    IntentArgs,
    IntentDetailSchema,
    IntentSchema,
    SubmissionSchema,
)
from app.api.submission_reader import at_a_glance, batch_at_a_glance, read_submission, submission_of
from app.domain.errors import Fault, InvalidInput, QuantumError
from app.services import browse
from app.services.receipts import Receipt
from app.services.submit import Outcome, Submission, submit_intents

blueprint = Blueprint("intents", "What tenants declare.")

BATCH_BODY = 16 * 1024 * 1024
FIRST_PHASE = "pending"
FIRST_STATE = "queued"
_PROBLEM = compiled(ProblemRef)


@endpoint(
    blueprint,
    "POST /intents",
    "intents:write",
    AcceptedSchema,
    status=202,
    body=SubmissionSchema,
    creates=True,
    glance=at_a_glance,
)
def submit_intent(body: dict[str, Any]) -> Response:
    """Declare an intent; the answer comes after the commit, the run starts behind it."""

    def perform(receipt: Receipt) -> list[Outcome]:
        return submit_intents(parts().submit, actor(), [submission_of(body)], receipt=receipt)

    return answer_once(perform, lambda outcomes: _accepted_answer(outcomes[0]))


@endpoint(
    blueprint,
    "POST /intents:batch",
    "intents:write",
    BatchAnswerSchema,
    body=BatchSchema,
    creates=True,
    largest_body=BATCH_BODY,
    glance=batch_at_a_glance,
)
def submit_batch(body: dict[str, Any]) -> Response:
    """Declare up to 1,000 intents; each item has its own result unless `atomic` asks for all or none."""
    found: dict[int, Submission] = {}
    refused: dict[int, QuantumError] = {}
    for index, item in enumerate(body["items"]):
        try:
            found[index] = read_submission(item)
        except InvalidInput as wrong:
            refused[index] = wrong
    atomic = body.get("atomic", False)

    def perform(receipt: Receipt) -> list[Outcome]:
        if not found or (atomic and refused):
            return []
        return submit_intents(parts().submit, actor(), list(found.values()), atomic=atomic, receipt=receipt)

    def render(outcomes: Sequence[Outcome]) -> Rendered:
        results: dict[int, Outcome] = dict(zip(found, outcomes, strict=False))
        results |= {place: Outcome(place, error) for place, error in refused.items()}
        if atomic:
            _refuse_all(results)
        return _batch_answer(results)

    return answer_once(perform, render)


@endpoint(blueprint, "GET /intents", "intents:read", page_of(IntentSchema), query=IntentArgs)
def list_intents(query: dict[str, Any]) -> dict[str, Any]:
    """List the intents, latest first."""
    wanted = page_request("intents", query)
    query.setdefault("phase", query.pop("state", None))
    return page_document("intents", browse.list_intents(source(), actor(), wanted, **query))


@endpoint(blueprint, "GET /intents/<uuid:intent_id>", "intents:read", IntentDetailSchema, tagged=True)
def show_intent(intent_id: UUID) -> Any:
    """Show an intent with its present spec."""
    found = browse.show_intent(source(), actor(), intent_id)
    return found, {"ETag": etag_of(found["version"])}


@endpoint(
    blueprint,
    "GET /intents/<uuid:intent_id>/generations",
    "intents:read",
    page_of(GenerationSchema),
    query=PageArgs,
)
def list_generations(query: dict[str, Any], intent_id: UUID) -> dict[str, Any]:
    """List the generations of an intent's spec, latest first."""
    wanted = page_request("generations", query)
    return page_document("generations", browse.list_generations(source(), actor(), intent_id, wanted))


def _accepted(outcome: Outcome) -> dict[str, Any]:
    """Return what AcceptedSchema would make of it: nothing here is left for it to convert."""
    return {
        "intent": {
            "id": str(outcome.intent_id),
            "type": outcome.type_name,
            "type_version": outcome.type_version,
            "name": outcome.name,
            "phase": FIRST_PHASE,
            "generation": outcome.generation,
        },
        "run": {"id": str(outcome.run_id), "state": FIRST_STATE},
    }


def _accepted_answer(outcome: Outcome) -> Rendered:
    if outcome.error is not None:
        raise outcome.error
    return dumped(202, _accepted(outcome), {"Location": f"{PREFIX}/intents/{outcome.intent_id}"})


def _refuse_all(results: dict[int, Outcome]) -> None:
    """Raise InvalidInput with the faults of every item, if any: inside the transaction, so none is kept."""
    faults: list[Fault] = []
    for index, outcome in sorted(results.items()):
        error = outcome.error
        if isinstance(error, InvalidInput):
            faults.extend(
                Fault(f"/items/{index}{each.pointer}", each.code, each.message) for each in error.faults
            )
        elif error is not None:
            faults.append(Fault(f"/items/{index}", error.code, error.message))
    if faults:
        raise InvalidInput(tuple(faults), "No item was accepted: the batch is atomic.")


def _batch_answer(results: dict[int, Outcome]) -> Rendered:
    items: list[dict[str, Any]] = []
    accepted = 0
    for index, outcome in sorted(results.items()):
        if outcome.error is None:
            accepted += 1
            items.append({"index": index, "status": 202, **_accepted(outcome)})
        else:
            problem = document_of(outcome.error)
            items.append({"index": index, "status": problem["status"], "problem": _PROBLEM(problem)})
    return dumped(200, {"accepted": accepted, "items": items})
