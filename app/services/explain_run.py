"""The answer to the question why a run waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.db import dedicated_pools, explain, limits, runs
from app.db.admission import PoolLoad
from app.db.engine import Connection, Database
from app.domain.errors import NotFound
from app.domain.identity import Actor
from app.domain.runs import Run
from app.services.admission import Admission

COUNTED = 1_000_000
UNSENT = {
    "paused": "the run is paused",
    "admission": "the run waits for admission",
    "sending": "it is ready and not sent yet: the broker may be away",
}
HELD = {
    "maintenance": "the platform is in maintenance: work is accepted, none begins",
    "tenant_suspended": "the tenant is suspended: nothing of it begins",
}
Document = dict[str, Any]
SLOWEST = 0.001
"""Admissions a second below which no estimate is made."""


def explain_run(database: Database, admission: Admission, actor: Actor, run_id: UUID) -> Document:
    """Return what the run, and each of its open steps, waits for; raises NotFound.

    Rows of other tenants are counted, never shown.
    """
    with database.tenant(actor.tenant_id) as connection:
        run = runs.find(connection, actor.tenant_id, run_id)
        if run is None:
            raise NotFound("no such run")
        keyed = _key(connection, run)
        blocked = _tenant_limit(connection, run)
        held = _hold(connection, run)
        before = (
            explain.key_waiting(connection, run.tenant_id, run.concurrency_key, run.id)
            if keyed and run.concurrency_key
            else 0
        )
        steps = explain.open_steps(connection, run.tenant_id, run.id, run.plan_hash)
        full = _step_limit(connection, run, steps)
        dedicated = run.pool in dedicated_pools.own(connection, run.tenant_id)
    loads = admission.loads()
    found: Document = {
        "run_id": run.id,
        "state": run.state,
        "pool": run.pool,
        "dedicated": dedicated,
        "waiting": run.waits,
        "reasons": [],
        "place": None,
        "estimate_s": None,
        "steps": [_step(run, step, loads, full, held) for step in steps],
    }
    if held is not None:
        found["reasons"] = [held]
    elif keyed is not None:
        found["place"] = {"in_tenant": before, "in_pool": before}
        found["reasons"] = [reason for reason in (keyed, blocked) if reason is not None]
    elif run.waits:
        place = explain.fair_place(admission.system, run.tenant_id, run.id)
        found["place"] = {"in_tenant": place.in_tenant, "in_pool": place.in_pool}
        ahead, rate = place.in_pool, place.pool_rate
        if blocked is not None:
            ahead, rate = place.in_tenant, place.tenant_rate
        found["estimate_s"] = (ahead + 1) / rate if rate is not None and rate > SLOWEST else None
        found["reasons"] = [blocked or _pool(run, loads)]
    elif run.state in ("pausing", "paused"):
        found["reasons"] = [_reason("paused", "an operator paused the run: it goes on when one resumes it")]
    elif full is not None:
        found["reasons"] = [full]
    return found


def _reason(code: str, message: str, limit: Mapping[str, Any] | None = None) -> Document:
    return {"code": code, "message": message, "limit": limit}


def _hold(connection: Connection, run: Run) -> Document | None:
    """Return what keeps everything of the tenant from beginning, if the run could go on without it."""
    found = (
        explain.hold(connection, run.tenant_id)
        if run.state in ("queued", "running", "compensating")
        else None
    )
    if found is None:
        return None
    code, reason = found
    return _reason(code, HELD[code] + (f": {reason}" if reason else ""))


def _key(connection: Connection, run: Run) -> Document | None:
    """Return the concurrency key as the reason, if the run has no place under it."""
    if not run.waits or not run.held_by_key or run.concurrency_key is None or run.key_limit is None:
        return None
    taken = explain.key_taken(connection, run.tenant_id, run.concurrency_key)
    use = {
        "name": f"concurrency key {run.concurrency_key}",
        "value": run.key_limit,
        "in_use": taken,
        "holders": explain.key_holders(connection, run.tenant_id, run.concurrency_key),
    }
    message = f"{run.key_limit} runs with the key {run.concurrency_key} may be under way, {taken} are"
    return _reason("concurrency_key", message, use)


def _tenant_limit(connection: Connection, run: Run) -> Document | None:
    """Return the tenant's limit as the reason, if the run waits while all places are taken."""
    if not run.waits:
        return None
    most = limits.find(connection, run.tenant_id).max_running_runs
    if most is None:
        return None
    taken = explain.places_taken(connection, run.tenant_id, COUNTED)
    if taken < most:
        return None
    use = {
        "name": "max_running_runs",
        "value": most,
        "in_use": taken,
        "holders": explain.holders(connection, run.tenant_id),
    }
    return _reason("tenant_limit", f"the tenant may have {most} runs at once, {taken} are under way", use)


def _step_limit(connection: Connection, run: Run, steps: Sequence[Mapping[str, Any]]) -> Document | None:
    """Return the tenant's limit of steps as the reason, if a step waits while all places are taken."""
    if run.waits or run.state in ("pausing", "paused") or not any(map(_placeless, steps)):
        return None
    most = limits.find(connection, run.tenant_id).max_running_steps
    if most is None:
        return None
    taken = explain.steps_taken(connection, run.tenant_id, COUNTED)
    if taken < most:
        return None
    use = {
        "name": "max_running_steps",
        "value": most,
        "in_use": taken,
        "holders": explain.step_holders(connection, run.tenant_id),
    }
    return _reason("step_limit", f"the tenant may have {most} steps at once, {taken} are under way", use)


def _placeless(step: Mapping[str, Any]) -> bool:
    """Tell whether the step may wait for a place: it is ready, unsent, and takes one."""
    decided = step["is_fan"] or step["operation"] in ("wait", "workflow")
    return step["state"] == "ready" and step["sent_at"] is None and not decided


def _pool(run: Run, loads: Mapping[str, PoolLoad]) -> Document:
    load = loads.get(run.pool)
    if load is not None and load.load >= load.bound:
        if load.slots == 0:
            return _reason("no_worker", f"no live worker listens on the queue {run.pool}, which is full")
        use = {"name": f"pool {run.pool}", "value": load.bound, "in_use": load.load, "holders": []}
        message = f"the queue {run.pool} has {load.load} steps to do for {load.slots} worker processes"
        return _reason("pool_full", message, use)
    return _reason("turn", "it is admitted when its turn comes, within a second if there is room")


def _step(
    run: Run,
    step: Mapping[str, Any],
    loads: Mapping[str, PoolLoad],
    full: Document | None,
    held: Document | None,
) -> Document:
    if held is not None and step["state"] == "ready":
        code, message, detail = held["code"], held["message"], {}
    elif full is not None and _placeless(step):
        code, message = full["code"], full["message"]
        detail = {name: full["limit"][name] for name in ("name", "value", "in_use")}
    else:
        code, message, detail = _verdict(run, step, loads)
    return {"key": step["key"], "state": step["state"], "code": code, "message": message, "detail": detail}


def _verdict(
    run: Run, step: Mapping[str, Any], loads: Mapping[str, PoolLoad]
) -> tuple[str, str, dict[str, Any]]:
    """Return code, sentence, facts of one open step."""
    state, queue = step["state"], step["queue"]
    if state == "running":
        detail = {"worker": step["worker"], "attempt": step["attempt"], "since": _time(step["started_at"])}
        return "running", f"it runs on {step['worker']}", detail
    if state == "pending":
        return _pending(step)
    if state == "waiting":
        return _waits(step)
    held = "paused" if run.state in ("pausing", "paused") else "admission" if run.waits else "sending"
    if step["sent_at"] is None:
        return held, UNSENT[held], {}
    return _queued(queue, loads.get(queue))


def _pending(step: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    if step["needs"]:
        return "need", f"it needs {', '.join(step['needs'])}", {"needs": step["needs"]}
    if step["undoes"] is not None:
        return "need", "the compensations before it have to end first", {"needs": []}
    return "place", "all places of its fan (max_parallel) are taken by items before it", {}


def _queued(queue: str, load: PoolLoad | None) -> tuple[str, str, dict[str, Any]]:
    slots = load.slots if load is not None else 0
    if slots == 0:
        return "no_worker", f"no live worker listens on the queue {queue}", {"queue": queue}
    detail = {"queue": queue, "slots": slots, "load": load.load if load is not None else 0}
    return "slot", f"it waits for one of {slots} worker processes of the queue {queue}", detail


def _waits(step: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    if step["is_fan"]:
        return (
            "items",
            f"{step['needs_left']} of its items have not ended",
            {"items_left": step["needs_left"]},
        )
    if step["operation"] == "workflow" and step["not_before"] is None:
        return "child", "its sub-workflow's run is under way", {}
    due = _time(step["not_before"])
    if step["signal"] is not None:
        return "signal", f"it waits for the signal {step['signal']}", {"signal": step["signal"], "until": due}
    if step["operation"] == "wait":
        return "time", f"it waits until {due}", {"until": due}
    return "retry", f"its attempt {step['attempt']} failed, the next one is due at {due}", {"until": due}


def _time(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat()
