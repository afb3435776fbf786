"""The output of a step as its tenant reads it, however large."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from app.db import artifacts
from app.db.engine import Database
from app.domain.artifacts import Reference, as_reference
from app.domain.documents import dump
from app.domain.errors import NotFound
from app.domain.identity import Actor
from app.services.artifacts import Artifacts

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Content:
    """What is sent, with size and type: `pieces` opens it, yields it verified while it goes.

    `pieces` raises ArtifactMissing, Unavailable.
    """

    pieces: Callable[[], Iterator[bytes]]
    bytes: int
    content_type: str
    sha256: str


def read_output(database: Database, store: Artifacts, actor: Actor, run_id: UUID, key: str) -> Content:
    """Return the output of a step that has one, from its row or the artifact store.

    Raises NotFound, Unavailable.
    """
    with database.tenant(actor.tenant_id) as connection:
        found = artifacts.step_output(connection, actor.tenant_id, run_id, key)
    if found is None:
        raise NotFound("no such step")
    state, output = found
    if output is None and state != "succeeded":
        raise NotFound("the step has no output", "no_output")
    reference = as_reference(output)
    if reference is not None:
        return _content(store, actor, reference)
    body = dump(output).encode()
    return Content(lambda: iter((body,)), len(body), JSON, hashlib.sha256(body).hexdigest())


def read_artifact(
    database: Database, store: Artifacts, actor: Actor, run_id: UUID, key: str, sha256: str
) -> Content:
    """Return an artifact that a step holds; raises NotFound, Unavailable."""
    with database.tenant(actor.tenant_id) as connection:
        reference = artifacts.held_by(connection, actor.tenant_id, run_id, key, sha256)
    if reference is None:
        raise NotFound("the step holds no such artifact")
    return _content(store, actor, reference)


def _content(store: Artifacts, actor: Actor, reference: Reference) -> Content:
    kind = JSON if reference.is_value else reference.content_type
    pieces = partial(store.stream, actor.tenant_id, reference)
    return Content(pieces, reference.bytes, kind, reference.sha256)
