"""Chapters that break something on purpose while work is in flight."""

from __future__ import annotations

import os
import signal
import time

import redis

from app.client.http import ApiClient
from app.client.progress import step_lines, totals
from app.client.watching import Sight, look
from app.runtime.demo.broker import watching
from app.runtime.demo.chapters import follow, submit
from app.runtime.demo.claims import Report
from app.runtime.demo.stage import Stage

LEGS = 16
LEG_S = 0.3
BREAK_AFTER = 5
LOOK_EVERY_S = 0.1


def kill_worker(stage: Stage, report: Report, client: ApiClient) -> str:
    """Kill the worker with -9 in the middle of a run; returns the run's id."""
    with watching(stage.settings.broker_url, stage.settings.worker_queues) as broker:
        run_id = submit(client, "demo.fan", {"width": LEGS, "seconds": LEG_S})
        middle = until_middle(client, run_id)
        worker = stage.supervisor.pids()["worker"]
        os.killpg(worker, signal.SIGKILL)  # with its pool: a child left alive could still finish its step
        ended, total = totals(step_lines(middle.steps))
        report.say(f"worker {worker} was killed with -9 when {ended} of {total} steps had ended")
        running = [step["key"] for step in middle.steps if step["state"] == "running"]
        report.claim(f"running at that moment: {', '.join(running)}", running)
        report.claim("a chord was in flight, seen in the broker", broker.flight.chords)
        sight = _ends_right(report, client, run_id)
        report.claim("what followed its join travelled as a chain, seen in the broker", broker.flight.chains)
    taken = sorted(step["key"] for step in sight.steps if step["kills"])
    report.claim(f"what ran in the dead worker was taken back: {', '.join(taken)}", taken)
    now = stage.supervisor.pids().get("worker")
    report.claim("the supervisor started another worker", now not in (None, worker))
    return run_id


def flush_broker(stage: Stage, report: Report, client: ApiClient) -> None:
    """Empty Redis while a chord is in flight: every message, the chord's counter, the streams."""
    with watching(stage.settings.broker_url, stage.settings.worker_queues) as broker:
        run_id = submit(client, "demo.fan", {"width": LEGS, "seconds": LEG_S})
        until_middle(client, run_id)
        report.claim("a chord was in flight", broker.flight.chords)
        redis.Redis.from_url(stage.settings.broker_url).flushall()
    report.say("FLUSHALL was sent")
    _ends_right(report, client, run_id)


def until_middle(client: ApiClient, run_id: str) -> Sight:
    """Look at a run until some of its legs have ended while others run, or it is over."""
    while True:
        sight = look(client, run_id)
        legs = [step for step in sight.steps if step["base"] == "wait" and step["item"] is not None]
        done = sum(step["state"] == "succeeded" for step in legs)
        if sight.ended or (done >= BREAK_AFTER and any(step["state"] == "running" for step in legs)):
            return sight
        time.sleep(LOOK_EVERY_S)


def _ends_right(report: Report, client: ApiClient, run_id: str) -> Sight:
    sight = follow(report, client, run_id)
    states = {step["state"] for step in sight.steps}
    report.claim("the run still ended succeeded", sight.run["state"] == "succeeded")
    report.claim("every step of it did", states == {"succeeded"})
    join = client.get(f"/runs/{run_id}/steps/gather")
    report.claim(f"its join saw all {LEGS} legs", join["output"]["message"] == LEGS)
    legs = [step for step in sight.steps if step["base"] == "wait" and step["item"] is not None]
    latest = max(step["finished_at"] for step in legs)
    report.claim("the join began after the last leg had ended", join["started_at"] >= latest)
    return sight
