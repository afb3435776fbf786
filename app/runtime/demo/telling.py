"""Chapters of what the platform tells by itself: the live feed, a webhook, a schedule, one trace."""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from app.client.feed import Follower
from app.client.http import ApiClient
from app.runtime.demo.claims import Report
from app.runtime.demo.listening import contains, eventually
from app.runtime.demo.stage import Stage
from app.runtime.failure import RuntimeFailure
from app.settings.state import state_directory

WITHIN_S = 60.0
PROMPT_S = 3.0
ENDS = ("run.succeeded", "run.failed", "run.cancelled")
FAILING = ("run.started", "step.retrying", "step.failed", "run.failed")
FIRINGS = 2
LINE_WIDTH = 150
SPEAKERS = ("api", "worker", "relay", "webhooks")
_PREFIX = "io.quantum."


class Message(NamedTuple):
    """A request as a receiver got it."""

    headers: dict[str, str]
    body: bytes


def live_feed(stage: Stage, report: Report, client: ApiClient) -> None:
    """Print each event of a failing run as the live feed tells it, while the run goes."""
    listener = stage.client(client.get("/me")["tenant"])
    follower = Follower(lambda: listener, 0)
    deque(follower.present(), maxlen=0)
    heard: list[tuple[str, float]] = []
    run = _failing(stage, client, {})

    def listen() -> None:
        for event in follower.events():
            if event["subject"] != f"runs/{run}":
                continue
            late = time.time() - datetime.fromisoformat(event["time"]).timestamp()
            name = event["type"].removeprefix(_PREFIX)
            heard.append((name, late))
            report.say(f"{event['time'][11:23]}  {name:<15} heard {late * 1000:.0f} ms later")
            if name in ENDS:
                return

    ear = threading.Thread(target=listen, daemon=True)
    ear.start()
    ear.join(WITHIN_S)
    names = [name for name, _ in heard]
    report.claim("the feed told the run's story, line by line, to its end", contains(names, FAILING))
    slowest = max((late for _, late in heard), default=WITHIN_S)
    report.claim(f"no line came later than {slowest:.1f} s after its event", slowest < PROMPT_S)


def webhook(stage: Stage, report: Report, client: ApiClient) -> str:
    """A receiver of its own gets a run's end, verifies the signature; returns the trace id of that run."""
    verifier, refusal = _library()
    trace_id = secrets.token_hex(16)
    with receiving(stage.receiver_port) as got:
        url = f"http://127.0.0.1:{stage.receiver_port}/told"
        name = f"demo-{secrets.token_hex(4)}"
        wanted = {"name": name, "url": url, "types": ["run.*"], "labels": {}}
        made = client.post("/webhooks", wanted)
        report.say(f"a webhook for run.* to {url}; its secret is shown this once")
        run = _failing(stage, client, {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"})
        end = eventually(lambda: _end_of(run, got), WITHIN_S)
        client.call("DELETE", f"/webhooks/{made['id']}")
    report.claim("the receiver was told that the run failed", end)
    if not end:
        return trace_id
    library = verifier(made["secret"])
    event = library.verify(end.body, end.headers)
    report.claim("the standardwebhooks library verifies the signature", event["subject"] == f"runs/{run}")
    report.claim("the message's id is the event's", end.headers["webhook-id"] == event["id"])
    try:
        library.verify(end.body.replace(b"run.failed", b"run.succeeded"), end.headers)
        held = False
    except refusal:
        held = True
    report.claim("it refuses the same message with one word changed", held)
    return trace_id


def schedule(report: Report, client: ApiClient) -> None:
    """A schedule of every second fires twice; each firing is a run that succeeds."""
    name = f"demo-{secrets.token_hex(4)}"
    spec = {"message": "fired for ${run.scheduled_at}"}
    body = {"name": name, "type": "core.echo", "spec": spec, "timing": {"every_s": 1}, "overlap": "allow"}
    made = client.post("/schedules", body)
    report.say(f"schedule {name}: every second")

    def started() -> list[dict[str, Any]]:
        firings = [one for one in client.items(f"/schedules/{made['id']}/firings") if one["run_id"]]
        return firings if len(firings) >= FIRINGS else []

    firings = eventually(started, WITHIN_S)
    client.call("DELETE", f"/schedules/{made['id']}")
    for one in firings:
        report.say(f"due {one['scheduled_at'][11:19]}, run {one['run_id']}")
    places = [one["scheduled_at"] for one in firings]
    report.claim(
        f"it fired {len(firings)} times, each place once", firings and len(set(places)) == len(places)
    )
    states = eventually(lambda: _all_ended(client, [one["run_id"] for one in firings]), WITHIN_S)
    report.claim("its runs succeeded", states == {"succeeded"})


def one_trace(stage: Stage, report: Report, trace_id: str) -> None:
    """Look for one trace id in the log: every process that worked for the run wrote a line with it."""
    log = state_directory(stage.environ) / "log" / "demo.log"

    def found() -> dict[str, str]:
        lines: dict[str, str] = {}
        for line in log.read_text(errors="replace").splitlines():
            speaker, _, text = line.partition(" ")
            if trace_id in text:
                lines.setdefault(speaker, text.strip())
        return lines if set(SPEAKERS) <= lines.keys() else {}

    lines = eventually(found, WITHIN_S)
    report.say(f"grep {trace_id} {log}")
    for speaker, text in lines.items():
        report.say(f"{speaker:<9} {_short(text)}")
    report.claim(f"one trace id finds the lines of {', '.join(SPEAKERS)}", set(SPEAKERS) <= lines.keys())


@contextmanager
def receiving(port: int) -> Iterator[list[Message]]:
    """Take every POST on 127.0.0.1:`port`; yields what came so far."""
    got: list[Message] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append(Message({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_facts: object) -> None:
            """Say nothing: the demo prints its own story."""

    with ThreadingHTTPServer(("127.0.0.1", port), Receiver) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        try:
            yield got
        finally:
            server.shutdown()


def _library() -> tuple[Any, type[Exception]]:
    """The receiving side is somebody else's code: the library of the standard, of the extra `dev`."""
    try:
        from standardwebhooks.webhooks import Webhook, WebhookVerificationError  # noqa: PLC0415 - as above
    except ImportError as missing:
        raise RuntimeFailure("the longer show needs `pip install standardwebhooks`") from missing
    return Webhook, WebhookVerificationError


def _failing(stage: Stage, client: ApiClient, headers: dict[str, str]) -> str:
    """Declare a request to a target that is down: a run with a story, in some seconds."""
    spec = {"url": f"http://127.0.0.1:{stage.target_port}/stock", "timeout_s": 5}
    answer = client.call("POST", "/intents", body={"type": "http.request", "spec": spec}, headers=headers)
    run: str = answer.document["run"]["id"]
    return run


def _end_of(run: str, got: list[Message]) -> Message | None:
    for message in got:
        event = json.loads(message.body)
        if event["subject"] == f"runs/{run}" and event["type"] == _PREFIX + "run.failed":
            return message
    return None


def _all_ended(client: ApiClient, runs: list[str]) -> set[str]:
    states = {client.get(f"/runs/{run}")["state"] for run in runs}
    return states if states <= {"succeeded", "failed", "cancelled"} else set()


def _short(text: str) -> str:
    """A line of the log as people read it: the event first, then what names it."""
    try:
        line = json.loads(text)
    except ValueError:
        return text[:LINE_WIDTH]
    wanted = ("event", "path", "status", "step", "outcome", "type", "sink", "webhook_id")
    return "  ".join(str(line[name]) for name in wanted if name in line)[:LINE_WIDTH]
