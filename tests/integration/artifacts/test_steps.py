"""Steps whose outputs are too large for their rows, or that leave files behind."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.artifacts.files import FileStore
from app.domain.artifacts import INLINE_BYTES, VALUE_TYPE, ArtifactMissing, ArtifactStoreFull, as_reference
from app.domain.errors import NotFound, Unavailable
from app.security.key_ring import KeyRing
from app.security.secret_box import SecretBox
from app.services.collect_artifacts import collect_artifacts
from app.services.manage_secrets import put_secret
from app.services.read_output import read_artifact, read_output
from app.services.recover import recover
from tests.support.hands import Hands
from tests.support.rig import Rig

MIB = 1024 * 1024
SIZE = 2 * INLINE_BYTES


@pytest.fixture
def run(rig: Rig, hands: Hands) -> UUID:
    """A run whose first step has left a large output, which the others use in different ways."""
    steps = [
        {"id": "big", "uses": "testkit.bulk", "with": {"size": SIZE}},
        {"id": "inside", "uses": "core.echo", "needs": ["big"]},
        {"id": "whole", "uses": "core.echo", "needs": ["big"]},
        {"id": "fan", "uses": "core.echo", "needs": ["big"], "foreach": "${steps.big.output.parts}"},
    ]
    steps[1]["with"] = {"message": "${steps.big.output.size} or ${size(steps.big.output.text)}"}
    steps[2]["with"] = {"message": "${steps.big.output}"}
    steps[3]["with"] = {"message": "${item}"}
    run = rig.submit(steps)
    assert hands.perform(run, "big").ok
    return run


def output(rig: Rig, run: UUID, key: str) -> Any:
    return rig.step(run, key)["output"]


def download(rig: Rig, run: UUID, key: str) -> bytes:
    found = read_output(rig.base.engine.database, rig.base.engine.artifacts, rig.actor, run, key)
    content = b"".join(found.pieces())
    assert len(content) == found.bytes
    return content


def test_the_row_holds_a_reference_the_value_comes_back(rig: Rig, run: UUID) -> None:
    reference = as_reference(output(rig, run, "big"))
    assert reference is not None
    assert (reference.content_type, reference.is_value) == (VALUE_TYPE, True)
    value = json.loads(download(rig, run, "big"))
    assert (value["size"], len(value["text"])) == (SIZE, SIZE)


def test_later_steps_get_the_value(rig: Rig, hands: Hands, run: UUID) -> None:
    assert hands.perform(run, "inside").ok
    assert output(rig, run, "inside") == {"message": f"{SIZE} or {SIZE}"}
    assert hands.perform(run, "whole").ok
    row = rig.step(run, "whole")
    assert as_reference(row["input"]) is not None, "a large input is put aside as well"
    assert json.loads(download(rig, run, "whole"))["message"]["size"] == SIZE


def test_a_fan_goes_over_a_list_within(rig: Rig, run: UUID) -> None:
    assert [rig.step(run, f"fan.{n}")["item_value"] for n in range(3)] == [1, 2, 3]


def test_what_fits_stays_in_its_row(rig: Rig, hands: Hands) -> None:
    run = rig.submit([{"id": "a", "uses": "testkit.bulk", "with": {"size": INLINE_BYTES - 200}}])
    assert hands.perform(run, "a").ok
    assert output(rig, run, "a")["size"] == INLINE_BYTES - 200
    assert rig.rows("SELECT 1 FROM step_artifacts WHERE run_id = %s", run) == []
    assert json.loads(download(rig, run, "a"))["size"] == INLINE_BYTES - 200


def test_past_the_limit_the_step_fails_for_good(rig: Rig, hands: Hands) -> None:
    small = replace(hands.executor.engine.artifacts, max_bytes=MIB)
    other = Hands(rig, replace(hands.executor, engine=replace(hands.executor.engine, artifacts=small)))
    run = rig.submit([{"id": "a", "uses": "testkit.bulk", "with": {"size": MIB}, "retry": {"attempts": 3}}])
    assert other.perform(run, "a").failed
    error = rig.step(run, "a")["error"]
    assert error["code"] == "output_too_large"
    assert f"{MIB} are allowed" in error["message"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ArtifactStoreFull("the disk is full"), "artifact_store_full"),
        (Unavailable("artifact store"), "unavailable"),
    ],
)
def test_a_store_that_is_full_or_away_lets_the_step_try_again(
    rig: Rig, hands: Hands, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    def refuse(*_: Any) -> None:
        raise fault

    retry = {"attempts": 2, "backoff": 0}
    run = rig.submit([{"id": "a", "uses": "testkit.bulk", "with": {"size": SIZE}, "retry": retry}])
    # Its patience with a store that is away ends at once: each look at the clock is half a minute later.
    hurried = replace(hands.executor, clock=count(0, 30).__next__, wait=lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "put", refuse)
        assert Hands(rig, hurried).perform(run, "a").outcome == "retry"
    row = rig.step(run, "a")
    assert (row["state"], row["error"]["code"]) == ("waiting", code)


def test_a_step_that_cannot_begin_while_the_store_is_away_waits_without_an_attempt(
    rig: Rig, hands: Hands, run: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Unavailable("artifact store")

    hurried = replace(hands.executor, clock=count(0, 30).__next__, wait=lambda _: None)
    with monkeypatch.context() as patch:
        patch.setattr(FileStore, "read", refuse)
        assert Hands(rig, hurried).perform(run, "inside").outcome == "retry"
    row = rig.step(run, "inside")
    assert (row["state"], row["tries"], row["attempt"]) == ("waiting", 1, 0), "its policy has one attempt"
    assert row["error"]["detail"]["deferred"] is True
    rig.rows("UPDATE run_steps SET not_before = clock_timestamp() WHERE run_id = %s AND key = 'inside'", run)
    recover(rig.beat_parts.dispatch)
    assert hands.perform(run, "inside").ok


def test_a_missing_value_fails_the_step_that_needs_it(rig: Rig, hands: Hands, run: UUID) -> None:
    reference = as_reference(output(rig, run, "big"))
    assert reference is not None
    store = rig.base.engine.artifacts.store
    content = b"".join(store.read(rig.actor.tenant_id, reference.sha256))
    store.delete(rig.actor.tenant_id, reference.sha256)
    try:
        assert hands.perform(run, "inside").failed
        assert rig.step(run, "inside")["error"]["code"] == "artifact_missing"
        with pytest.raises(ArtifactMissing):
            download(rig, run, "big")
    finally:
        store.put(rig.actor.tenant_id, reference.sha256, content)


def test_a_file_travels_by_reference(rig: Rig, hands: Hands) -> None:
    steps = [
        {"id": "a", "uses": "testkit.leave", "with": {"text": "a report", "kind": "text/csv"}},
        {"id": "b", "uses": "testkit.take", "needs": ["a"]},
    ]
    steps[1]["with"] = {"reference": "${steps.a.output.report}"}
    run = rig.submit(steps)
    assert hands.perform(run, "a").ok
    assert hands.perform(run, "b").ok
    assert output(rig, run, "b") == {"text": "a report"}
    reference = as_reference(output(rig, run, "a")["report"])
    assert reference is not None
    engine = rig.base.engine
    found = read_artifact(engine.database, engine.artifacts, rig.actor, run, "a", reference.sha256)
    assert (b"".join(found.pieces()), found.content_type) == (b"a report", "text/csv")
    with pytest.raises(NotFound):
        read_artifact(engine.database, engine.artifacts, rig.actor, run, "b", reference.sha256)
    stranger = rig.tenant()
    for read in (
        lambda: read_output(engine.database, engine.artifacts, stranger, run, "a"),
        lambda: read_artifact(engine.database, engine.artifacts, stranger, run, "a", reference.sha256),
    ):
        with pytest.raises(NotFound):
            read()


def test_no_secret_gets_into_an_artifact(rig: Rig, hands: Hands) -> None:
    secret = "canary-7f3e9a11"
    put_secret(
        SecretBox(KeyRing(rig.settings.secrets_keys)), rig.base.engine.database, rig.actor, "T", secret, None
    )
    given = {"text": "it is ${secrets.T}"}
    run = rig.submit([{"id": "a", "uses": "testkit.leave", "with": given}])
    assert hands.perform(run, "a").failed
    assert rig.step(run, "a")["error"]["code"] == "secret_in_artifact"
    kept = Path(rig.settings.artifact_dir).rglob("*")
    assert not [path for path in kept if path.is_file() and secret.encode() in path.read_bytes()]


def test_what_a_step_holds_is_kept_what_nobody_holds_goes(rig: Rig, hands: Hands, run: UUID) -> None:
    system, artifacts = rig.beat_parts.dispatch.system, rig.base.engine.artifacts
    collect_artifacts(system, artifacts.store, 0.0)
    assert json.loads(download(rig, run, "big"))["size"] == SIZE
    reference = as_reference(output(rig, run, "big"))
    assert reference is not None
    # A later claim of every step that held it: what an earlier one left behind is nobody's.
    rig.rows(
        "UPDATE run_steps s SET tries = s.tries + 1 FROM step_artifacts h"
        " WHERE h.sha256 = %s AND s.run_id = h.run_id AND s.key = h.key",
        reference.sha256,
    )
    assert collect_artifacts(system, artifacts.store, 0.0) >= 1
    with pytest.raises(ArtifactMissing):
        artifacts.store.read(rig.actor.tenant_id, reference.sha256)
    assert rig.rows("SELECT 1 FROM artifacts WHERE sha256 = %s", reference.sha256) == []
