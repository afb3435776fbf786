"""One trace through every process: API, broker, worker, an HTTP call, the relay, an operator's retry."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from app.bootstrap.stores import build_platform
from app.client.http import ApiClient, sign_in
from app.runtime.ports import free_port
from app.services.manage_tenants import create_platform_tenant
from tests.support.collector import Collector, collector, without_times
from tests.support.http_target import HttpTarget, Seen, http_target
from tests.support.rig import Rig, rig_on
from tests.support.waiting import eventually

PASSWORD = "correct horse battery"
ROOT = "root@platform.example"
CANARIES = ("t0ps3cret", "c4nary-bearer-77", "canary.person@mail.example", "c4nary-p4ss-91")
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER_SPAN = "00f067aa0ba902b7"
PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
ENDS = ("succeeded", "failed", "cancelled")


@dataclass
class World:
    """The platform with its collector and a service that fails three times, then answers."""

    rig: Rig
    collector: Collector
    target: HttpTarget
    client: ApiClient
    url: str

    def ends(self, run: str, state: str) -> None:
        """Wait for the end of a run, as a client does."""

        def ended() -> bool:
            return self.client.get(f"/runs/{run}")["state"] in ENDS

        eventually(ended, within=40, what="the run ends")
        assert self.client.get(f"/runs/{run}")["state"] == state

    def arrives(self, trace_id: str, name: str, number: int = 1) -> None:
        """Wait until spans of a name have arrived."""
        eventually(
            lambda: len(self.collector.named(trace_id, name)) >= number,
            within=20,
            what=f"{number} spans {name!r}",
        )


@pytest.fixture(scope="module")
def world(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("traces")
    replies = iter([503, 503, 503])

    def reply(_: Seen) -> tuple[int, dict[str, str], bytes]:
        return next(replies, 200), {}, b"{}"

    with collector() as got, http_target(reply) as target:
        traced = {
            **environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": got.target.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-key=k1",
            "QUANTUM_ALLOWED_HTTP_TARGETS": target.name,
            "LOG_LEVEL": "INFO",
        }
        with rig_on(traced, folder) as rig:
            platform = build_platform(rig.settings)
            create_platform_tenant(platform, "Platform", ROOT, PASSWORD)
            port = free_port(None)
            command = ("granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port))
            rig.start("api", (*command, "--blocking-threads", "4", "--no-ws", "app.wsgi:application"))
            rig.beat()
            rig.start("relay", ("quantum", "relay"))
            rig.worker(concurrency=1)
            url = f"http://127.0.0.1:{port}"
            eventually(lambda: _healthy(url), within=30, what="the API answers")
            yield World(rig, got, target, _acme(url), url)


def _healthy(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=2).status_code == 200
    except requests.ConnectionError:
        return False  # not up yet: asked again


def _acme(url: str) -> ApiClient:
    root = ApiClient(url, sign_in(url, "platform", ROOT, PASSWORD)["access_token"])
    ann = {"email": "ann@acme.example", "password": PASSWORD}
    root.post("/tenants", {"slug": "acme", "name": "Acme", "admin": ann})
    return ApiClient(url, sign_in(url, "acme", "ann@acme.example", PASSWORD)["access_token"])


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """One intent that fails three times, is retried by its operator, succeeds: its run, then its trace."""
    spec = {
        "url": f"{world.target.url}/orders?token={CANARIES[0]}",
        "method": "POST",
        "headers": {"Authorization": f"Bearer {CANARIES[1]}"},
        "json": {"email": CANARIES[2], "password": CANARIES[3]},
    }
    body = {"type": "http.request", "spec": spec}
    run = world.client.post("/intents", body)["run"]["id"]
    world.ends(run, "failed")
    world.client.post(f"/runs/{run}:retry")
    world.ends(run, "succeeded")
    trace_id: str = world.client.get(f"/runs/{run}")["trace_id"]
    wanted = {
        "POST /api/v1/intents": 1,
        "publish run.succeeded": 1,
        "run": 1,
        "step fetch": 4,
        "step report": 1,
    }
    for name, number in wanted.items():
        world.arrives(trace_id, name, number)
    return {"run": run, "trace": trace_id, "spec": spec}


def test_one_trace_leads_through_every_process(world: World, told: dict[str, Any]) -> None:
    spans = world.collector.trace(told["trace"])
    assert {span.service for span in spans} >= {"quantum-api", "quantum-worker", "quantum-relay"}
    known = {span.span_id for span in spans}
    orphans = [span.name for span in spans if span.parent not in known]
    assert orphans == ["POST /api/v1/intents"]
    assert all(headers["x-key"] == "k1" for headers in world.collector.headers)


def test_tenant_user_operation_are_attributes(world: World, told: dict[str, Any]) -> None:
    (asked,) = world.collector.named(told["trace"], "POST /api/v1/intents")
    me = world.client.get("/me")
    assert asked.attributes["enduser.id"] == me["user_id"]
    fetches = world.collector.named(told["trace"], "step fetch")
    assert {one.attributes["quantum.tenant_id"] for one in (asked, *fetches)} == {me["tenant_id"]}
    assert {one.attributes["quantum.operation"] for one in fetches} == {"http.request"}


def test_each_retry_links_to_the_attempt_before(world: World, told: dict[str, Any]) -> None:
    first, *others = world.collector.named(told["trace"], "step fetch")
    assert first.links == ()
    chain = [first, *others]
    assert [one.links for one in others] == [(one.span_id,) for one in chain[:-1]]
    assert [one.failed for one in chain] == [True, True, True, False]


def test_the_outgoing_call_carries_the_span_it_is_made_for(world: World, told: dict[str, Any]) -> None:
    calls = world.collector.named(told["trace"], "POST")
    heard = [seen.headers["traceparent"] for seen in world.target.seen]
    assert heard == [f"00-{told['trace']}-{call.span_id}-01" for call in calls]


def test_what_a_customer_wrote_appears_in_nothing_that_is_watched(world: World, told: dict[str, Any]) -> None:
    """The spec is a row, for its tenant to see; nothing that operators watch holds any of it."""
    assert any(CANARIES[2].encode() in seen.body for seen in world.target.seen), "it went where it should"
    seen = {
        "spans": repr(world.collector.trace(told["trace"])),
        "metrics": requests.get(f"{world.url}/metrics", timeout=10).text,
        "events": repr(world.client.get("/events", limit=200)),
        "audit": repr(world.client.get("/audit", limit=200)),
        "redis": repr([world.rig.redis.dump(key) for key in world.rig.redis.keys("*")]),
        **{path.name: path.read_text() for path in world.rig.folder.glob("*.log")},
    }
    assert {"api.log", "beat.log", "relay.log", "worker.log"} <= seen.keys()
    assert [(name, canary) for name, text in seen.items() for canary in CANARIES if canary in text] == []


def test_the_page_shows_this_trace(world: World, told: dict[str, Any]) -> None:
    tree = world.collector.tree(told["trace"])
    found = re.search(r"```trace\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None
    assert without_times(found[1]) == without_times(tree), f"the page should show:\n{tree}"


def test_a_callers_trace_is_gone_on_with(world: World) -> None:
    traceparent = f"00-{CALLER}-{CALLER_SPAN}-01"
    body = {"type": "core.echo", "spec": {"message": "hello"}}
    answer = world.client.call("POST", "/intents", body=body, headers={"traceparent": traceparent})
    assert answer.headers["traceresponse"].split("-")[1] == CALLER
    run = answer.document["run"]["id"]
    world.ends(run, "succeeded")
    assert world.client.get(f"/runs/{run}")["trace_id"] == CALLER
    world.arrives(CALLER, "run")
    world.arrives(CALLER, "POST /api/v1/intents")
    (asked,) = world.collector.named(CALLER, "POST /api/v1/intents")
    assert asked.parent == CALLER_SPAN


def test_a_caller_who_does_not_sample_is_not_recorded(world: World) -> None:
    trace_id = "5" * 32
    body = {"type": "core.echo", "spec": {"message": "hello"}}
    headers = {"traceparent": f"00-{trace_id}-{CALLER_SPAN}-00"}
    run = world.client.call("POST", "/intents", body=body, headers=headers).document["run"]["id"]
    world.ends(run, "succeeded")
    assert world.client.get(f"/runs/{run}")["trace_id"] == trace_id
    assert world.collector.trace(trace_id) == []


def test_the_trace_id_finds_the_log_lines(world: World, told: dict[str, Any]) -> None:
    """Retried by beat, written by the worker, published by the relay: each knows whom it works for."""
    root = ApiClient(world.url, sign_in(world.url, "platform", ROOT, PASSWORD)["access_token"])
    for module in ("app", "tasks"):
        path = f"/platform/log-levels/{module}"
        root.put(path, {"level": "DEBUG", "for": "PT1H"}, match=root.call("GET", path).headers["ETag"])
    files = {name: world.rig.folder / f"{name}.log" for name in ("api", "beat", "relay", "worker")}
    for file in files.values():
        heard = 2 if file.stem == "worker" else 1  # the parent, its pool process
        eventually(lambda f=file, n=heard: f.read_text().count('"log_levels_changed"') >= n, within=20)
    body = {"type": "core.flaky", "spec": {"succeeds_at": 2}}
    run = world.client.post("/intents", body)["run"]["id"]
    world.ends(run, "succeeded")
    trace = world.client.get(f"/runs/{run}")["trace_id"]
    tenant = world.client.get("/me")["tenant_id"]
    for name, file in files.items():
        eventually(lambda f=file: trace in f.read_text(), within=20, what=f"{name}.log names the trace")
    assert world.client.post("/intents", {"type": "http.request", "spec": told["spec"]})
    eventually(lambda: world.target.seen[-1].body.count(CANARIES[2].encode()), within=20)
    texts = {path.name: path.read_text() for path in world.rig.folder.glob("*.log")}
    found = [(name, canary) for name, text in texts.items() for canary in CANARIES if canary in text]
    assert found == [], "no level tells what a customer wrote"
    lines = [json.loads(line) for line in files["worker"].read_text().splitlines() if line.startswith("{")]
    claimed = [line for line in lines if line["event"] == "step_claimed" and line["run_id"] == run]
    assert {line["step"] for line in claimed} == {"before", "flaky", "after"}
    assert {(line["trace_id"], line["tenant_id"], line["process_name"]) for line in claimed} == {
        (trace, tenant, "worker")
    }


def test_events_carry_the_trace(world: World, told: dict[str, Any]) -> None:
    found = [
        event
        for event in world.client.get("/events", subject=f"runs/{told['run']}")["items"]
        if "traceparent" in event
    ]
    spans = {span.span_id for span in world.collector.named(told["trace"], "run")}
    assert {event["traceparent"].split("-")[2] for event in found} == spans
