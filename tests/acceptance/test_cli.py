"""The operator's CLI against the running platform, as an operator types it."""

from __future__ import annotations

import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from standardwebhooks.webhooks import Webhook

from app.client.http import ApiClient
from app.client.tokens import load_token
from app.runtime.ports import free_port
from app.runtime.supervisor import Supervisor, child_environment, read_procfile, wait_until_healthy
from app.security.webhook_signature import signed_headers
from tests.support.http_target import http_target
from tests.support.prepared import PreparedPrograms
from tests.support.shell import PASSWORD, Quantum
from tests.support.waiting import eventually

STEPS = ("api", "worker", "beat", "relay", "webhooks")


@pytest.fixture(scope="module")
def quantum(
    environ: dict[str, str], prepared_command: PreparedPrograms, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Quantum]:
    folder = tmp_path_factory.mktemp("cli")
    state = Path(environ["QUANTUM_STATE_DIR"])
    ports = {
        "API_PORT": str(free_port()),
        "API_WORKERS": "1",
        "QUANTUM_ALLOWED_HTTP_TARGETS": f"127.0.0.1:{free_port()}",
    }
    served = child_environment({**environ, **ports}, state)
    log = (folder / "platform.log").open("w")
    specs = tuple(spec for spec in read_procfile() if spec.name in STEPS)
    supervisor = Supervisor(specs, served, lambda name, line: print(name, line, file=log, flush=True))
    with log, supervisor.running():
        wait_until_healthy(f"http://127.0.0.1:{served['API_PORT']}")
        quantum = Quantum(served, folder / "token.json", prepared_command)
        root = ("--email", "root@platform.example", "--password-stdin")
        quantum.installed("tenant", "create", "--first", *root, typed=PASSWORD)
        quantum.installed("login", "--tenant", "platform", *root, typed=PASSWORD)
        ann = ("--email", "ann@acme.example", "--password-stdin")
        quantum("tenant", "create", "acme", *ann, typed=PASSWORD)
        quantum("login", "--tenant", "acme", *ann, typed=PASSWORD)
        yield quantum


@pytest.fixture
def intent(tmp_path: Path) -> Path:
    path = tmp_path / "intent.yaml"
    path.write_text("type: core.echo\nspec: {message: hello}\n")
    return path


def test_the_token_is_kept_for_its_owner_alone(quantum: Quantum) -> None:
    assert stat.S_IMODE(quantum.token_file.stat().st_mode) == 0o600


def test_the_first_tenant_is_made_once(quantum: Quantum) -> None:
    arguments = ("tenant", "create", "--first", "--email", "x@y.example", "--password-stdin")
    assert "exists already" in quantum(*arguments, typed=PASSWORD, code=7).stderr


def test_submit_and_wait_draws_the_steps(quantum: Quantum, intent: Path) -> None:
    drawn = quantum("intent", "submit", "-f", str(intent), "--wait").stdout
    assert "succeeded" in drawn
    assert "core.echo" in drawn


def test_a_run_is_listed_and_shown_as_json(quantum: Quantum, intent: Path) -> None:
    run = quantum.json("intent", "submit", "-f", str(intent), "--wait")
    assert run["state"] == "succeeded"
    assert run["id"] in {listed["id"] for listed in quantum.json("runs", "list")}
    assert {step["state"] for step in quantum.json("runs", "show", run["id"])["steps"]} == {"succeeded"}
    assert quantum.json("intent", "list")


def test_the_same_idempotency_key_submits_once(quantum: Quantum, intent: Path) -> None:
    arguments = ("intent", "submit", "-f", str(intent), "--idempotency-key", "only-once")
    assert quantum.json(*arguments)["run"]["id"] == quantum.json(*arguments)["run"]["id"]


def test_a_failed_run_exits_1_and_is_retried_from_its_failed_step(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "flaky.yaml"
    path.write_text("type: core.flaky\nspec: {succeeds_at: 99}\n")
    failed = quantum.json("intent", "submit", "-f", str(path), "--wait", code=1)
    assert failed["id"] in {run["id"] for run in quantum.json("runs", "list", "--state", "failed")}
    counted = quantum.json("runs", "retry", "--failed-type", "core.flaky", "--dry-run")
    assert (counted["matched"], counted["sample"]) == (1, [{"run_id": failed["id"], "step": None}])
    again = quantum.json("runs", "retry", failed["id"], "--wait", code=1)
    rounds = {step["key"]: step["round"] for step in again["steps"]}
    assert rounds["flaky"] > rounds["before"]


def test_many_runs_are_retried_by_one_bulk_action(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "flaky.yaml"
    path.write_text("type: core.flaky\nspec: {succeeds_at: 99}\nlabels: {batch: night}\n")
    runs = {quantum.json("intent", "submit", "-f", str(path))["run"]["id"] for _ in range(3)}
    eventually(
        lambda: runs <= {run["id"] for run in quantum.json("runs", "list", "--state", "failed")}, within=30
    )
    wanted = ("retry", "--label", "batch=night")
    assert quantum("bulk", "create", "retry", code=2), "all runs only when it is said"
    assert quantum.json("bulk", "create", *wanted, "--dry-run")["matched"] == 3
    made = quantum.json("bulk", "create", *wanted, "--rate", "20", "--reason", "the disk is back", "--wait")
    assert (made["state"], made["counts"]) == ("finished", {"ok": 3})
    assert made["id"] in {listed["id"] for listed in quantum.json("bulk", "list", "--state", "finished")}
    assert {item["run_id"] for item in quantum.json("bulk", "items", made["id"], "--outcome", "ok")} == runs
    assert "3/3 done: 3 ok" in quantum("bulk", "show", made["id"]).stdout
    slow = quantum.json("bulk", "create", "rerun", "--all", "--rate", "0.01")["id"]
    assert quantum.json("bulk", "pause", slow)["state"] == "paused"
    assert quantum.json("bulk", "resume", slow)["state"] == "running"
    assert quantum.json("bulk", "cancel", slow)["state"] == "cancelled"
    assert quantum("bulk", "resume", slow, code=7)


def test_a_workflow_is_registered_from_a_file(quantum: Quantum, tmp_path: Path) -> None:
    definition = tmp_path / "flow.yaml"
    definition.write_text(
        "name: cli.gate\nversion: 1\nsteps:\n"
        "  - {id: first, uses: core.echo, with: {message: 1}}\n"
        "  - {id: gate, uses: core.fail_until, needs: [first], with: {attempt: 99}}\n"
    )
    assert quantum.json("workflow", "register", "-f", str(definition))["name"] == "cli.gate"
    assert "cli.gate" in {listed["name"] for listed in quantum.json("workflow", "list")}


def test_faults_are_named_by_pointer(quantum: Quantum, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("type: core.echo\nspec: {}\n")
    assert "/spec" in quantum("intent", "submit", "-f", str(wrong), code=6).stderr


def test_exit_codes_tell_what_went_wrong(quantum: Quantum, tmp_path: Path) -> None:
    nobody = ("--token", "not-a-token")
    assert quantum("runs", "list", *nobody, code=3)
    assert quantum("runs", "show", "00000000-0000-7000-8000-000000000000", code=4)
    assert quantum("runs", "list", "--url", "http://127.0.0.1:9", "--token", "t", code=5)
    assert quantum("runs", "list", "--url", "http://127.0.0.1:9", code=3), "the token is another server's"
    assert quantum("intent", "submit", "-f", str(tmp_path / "none.yaml"), code=2)
    bad = ("login", "--tenant", "acme", "--email", "ann@acme.example", "--password-stdin")
    assert quantum(*bad, "--token-file", str(tmp_path / "t"), typed="wrong password", code=3)


def test_a_password_is_changed_then_its_session_ended(quantum: Quantum, tmp_path: Path) -> None:
    eve, file = ("--email", "eve@acme.example", "--password-stdin"), ("--token-file", str(tmp_path / "eve"))
    quantum("user", "create", "eve@acme.example", "--role", "viewer", "--password-stdin", typed=PASSWORD)
    quantum("login", "--tenant", "acme", *eve, *file, typed=PASSWORD)
    quantum("user", "password", "--password-stdin", *file, typed=f"{PASSWORD}\nanother good one")
    quantum("runs", "list", *file)
    quantum("login", "--tenant", "acme", *eve, *file, typed=PASSWORD, code=3)
    quantum("logout", *file)
    assert not list(tmp_path.iterdir())
    quantum("runs", "list", *file, code=3)


def test_events_come_in_the_order_of_the_feed(quantum: Quantum, intent: Path) -> None:
    run = quantum.json("intent", "submit", "-f", str(intent), "--wait")

    def told() -> list[str]:
        lines = quantum("events", "tail", "--json", "--subject", f"runs/{run['id']}").stdout.splitlines()
        types = [json.loads(line)["type"] for line in lines]
        return types if len(types) > 1 else []

    assert eventually(told) == ["io.quantum.run.started", "io.quantum.run.succeeded"]


def test_secrets_go_in_and_never_come_out(quantum: Quantum) -> None:
    quantum("secrets", "set", "TOKEN", "--value-stdin", typed="s3cr3t-value")
    listed = quantum("secrets", "list", "--json").stdout
    assert "TOKEN" in listed
    assert "s3cr3t-value" not in listed


def test_a_signed_message_starts_a_run_of_which_a_webhook_tells(quantum: Quantum) -> None:
    port = int(quantum.environ["QUANTUM_ALLOWED_HTTP_TARGETS"].partition(":")[2])
    example = Path(__file__).parents[2] / "docs" / "examples" / "inbound.yaml"
    with http_target(lambda _: (200, {}, b""), port=port) as target:
        hook = quantum.json("webhooks", "create", "listener", target.url, "--type", "run.*")
        trigger = quantum.json("triggers", "create", "-f", str(example))
        body = json.dumps({"ref": "refs/heads/main", "after": "abc"})
        headers = signed_headers([trigger["secret"]], "message-1", int(time.time()), body.encode())
        url = f"http://127.0.0.1:{quantum.environ['API_PORT']}{trigger['path']}"
        answer = requests.post(url, data=body, headers=headers, timeout=30)
        assert answer.status_code == 202, answer.text
        run = answer.json()["run_id"]

        def told() -> list[str]:
            events = [Webhook(hook["secret"]).verify(seen.body, seen.headers) for seen in list(target.seen)]
            return [event["type"] for event in events if event["subject"] == f"runs/{run}"]

        eventually(lambda: told()[-1:] == ["io.quantum.run.succeeded"], within=60)
        assert told() == ["io.quantum.run.started", "io.quantum.run.succeeded"]
        (fired,) = quantum.json("triggers", "firings", trigger["id"])
        assert (fired["outcome"], fired["run_id"]) == ("fired", run)
        sent = quantum.json("webhooks", "ping", hook["id"])["event_id"]
        eventually(
            lambda: quantum.json("webhooks", "show", hook["id"], sent)["state"] == "delivered", within=30
        )
    assert quantum.json("webhooks", "deliveries", hook["id"], "--state", "dead") == []
    assert quantum.json("webhooks", "rotate", hook["id"])["secret"] != hook["secret"]
    assert quantum.json("webhooks", "disable", hook["id"])["state"] == "disabled"
    assert quantum.json("triggers", "pause", trigger["id"])["state"] == "paused"
    assert [one["name"] for one in quantum.json("triggers", "list")] == ["deploy"]
    assert [one["state"] for one in quantum.json("webhooks", "list")] == ["disabled"]
    quantum("webhooks", "delete", hook["id"])
    quantum("triggers", "delete", trigger["id"])


def test_a_schedule_fires_until_it_is_paused(quantum: Quantum, tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "docs" / "examples" / "schedule.yaml"
    made = quantum.json("schedule", "create", "-f", str(example))
    eventually(lambda: len(quantum.json("schedule", "firings", made["id"])) >= 2, within=30)
    assert quantum.json("schedule", "pause", made["id"], "--reason", "seen")["state"] == "paused"
    fired = quantum.json("schedule", "firings", made["id"])
    assert {one["outcome"] for one in fired} <= {"started", "skipped"}
    run = next(one["run_id"] for one in fired if one["outcome"] == "started")
    eventually(lambda: quantum.json("runs", "show", run)["state"] == "succeeded", within=20)
    assert quantum.json("schedule", "trigger", made["id"])["cause"] == "trigger"
    assert len(quantum.json("schedule", "times", made["id"], "--count", "3")["items"]) == 3
    past = ("--from", "2026-01-01T00:00:00+0000", "--to", "2026-01-01T00:00:10+0000")
    assert quantum.json("schedule", "backfill", made["id"], *past)["planned"] == 0, "it did not exist then"
    quantum("schedule", "delete", made["id"])
    assert quantum.json("schedule", "list") == []


def test_the_audit_trail_is_verified(quantum: Quantum) -> None:
    eventually(lambda: quantum.json("audit", "verify")["seals"] > 0, within=20)
    report = quantum.json("audit", "verify")
    assert report["intact"]
    assert quantum.json("audit", "verify", "--checkpoint", report["head"])["intact"]
    forged = report["head"].partition(":")[0] + ":" + "0" * 64
    assert (
        quantum.json("audit", "verify", "--checkpoint", forged, code=1)["faults"][0]["code"] == "other_chain"
    )
    quantum("audit", "verify", "--checkpoint", "nonsense", code=2)
    opened = quantum.json("audit", "list", "--action", "session.open")
    assert "ann@acme.example" in {record["actor"]["email"] for record in opened}


def test_a_user_is_created_with_a_role(quantum: Quantum) -> None:
    quantum("user", "create", "bob@acme.example", "--role", "viewer", "--password-stdin", typed=PASSWORD)
    users = {user["email"]: user["roles"] for user in quantum.json("user", "list")}
    assert users["bob@acme.example"] == ["viewer"]


def test_cancel_ends_a_run(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "wait.yaml"
    path.write_text("type: core.sleep_chain\nspec: {seconds: 60}\n")
    run = quantum.json("intent", "submit", "-f", str(path))["run"]
    assert quantum.json("runs", "cancel", run["id"], "--reason", "a test", "--wait")["state"] == "cancelled"


def test_a_run_is_steered(quantum: Quantum, tmp_path: Path) -> None:
    path, edited = tmp_path / "flaky.yaml", tmp_path / "spec.yaml"
    path.write_text("type: core.flaky\nspec: {succeeds_at: 99}\n")
    edited.write_text("succeeds_at: 1\n")
    run = quantum.json("intent", "submit", "-f", str(path), "--wait", code=1)["id"]
    letter = next(each for each in quantum.json("dead-letters", "list") if each["run_id"] == run)
    step = (run, letter["key"])
    assert quantum.json("dead-letters", "show", *step)["attempts"]
    assert quantum.json("dead-letters", "replay", *step, "--wait", code=1)["state"] == "failed"
    reason = ("--reason", "known to be harmless", "--wait")
    quantum("runs", "skip", *step, *reason, code=1)  # the last step needs the output that is missing
    assert quantum.json("runs", "skip", run, "after", *reason)["state"] == "succeeded"
    assert quantum("dead-letters", "show", *step, code=4)
    again = quantum.json("runs", "rerun", run, "--spec", str(edited), "--wait")
    assert (again["id"] != run, again["generation"]) == (True, 2)
    assert quantum("runs", "retry", run, "--from", letter["key"], code=7), "it succeeded: history"


def test_a_run_is_watched_told_drawn(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "flaky.yaml"
    path.write_text("type: core.flaky\nspec: {succeeds_at: 99}\n")
    run = quantum.json("intent", "submit", "-f", str(path))["run"]["id"]
    assert "failed" in quantum("runs", "watch", run, code=1).stdout
    quantum("runs", "retry", run, "--wait", code=1)
    told = [(each["source"], each["name"]) for each in quantum.json("runs", "timeline", run)]
    assert told[0] == ("event", "run.started")
    assert ("audit", "run.retry") in told
    assert told.count(("attempt", "attempt.failed")) >= 2
    assert "ann@acme.example" in quantum("runs", "timeline", run).stdout
    picture = tmp_path / "run.svg"
    quantum("runs", "graph", run, "--format", "svg", "-o", str(picture))
    assert picture.read_text().startswith("<svg ")
    assert quantum("runs", "graph", run).stdout.startswith("flowchart LR")
    assert quantum("runs", "gantt", run).stdout.startswith("<svg ")
    assert json.loads(quantum("runs", "graph", run, "--format", "json").stdout)["run_id"] == run
    assert quantum("runs", "gantt", run, "-o", str(tmp_path / "none" / "x"), code=2)


def test_a_run_is_paused(quantum: Quantum, tmp_path: Path) -> None:
    path = tmp_path / "wait.yaml"
    path.write_text("type: core.sleep_chain\nspec: {seconds: 60}\n")
    run = quantum.json("intent", "submit", "-f", str(path))["run"]["id"]
    assert quantum.json("runs", "pause", run, "--reason", "a test")["state"] in ("pausing", "paused")
    assert quantum.json("runs", "resume", run)["state"] in ("queued", "running")
    assert quantum.json("runs", "cancel", run, "--wait")["state"] == "cancelled"


def test_a_run_is_told_what_it_waits_for(quantum: Quantum, tmp_path: Path) -> None:
    gate = {"signal": "go", "approvers": {"roles": ["tenant_admin"]}}
    steps = [{"id": "paid", "wait": {"signal": "payment"}}, {"id": "gate", "needs": ["paid"], "wait": gate}]
    kind = {"name": "cli.waits", "version": 1, "spec_schema": {}, "workflow_name": "cli.waits"}
    flow = {"name": "cli.waits", "version": 1, "steps": steps}
    token = load_token(quantum.token_file)
    assert token is not None
    module = {"name": "cli_waits", "version": "1", "workflows": [flow]}
    module["intent_types"] = [{**kind, "workflow_version": 1}]
    ApiClient(token.url, token.access_token).post("/modules", module)
    path = tmp_path / "waits.yaml"
    path.write_text("type: cli.waits\nspec: {}\n")
    run = quantum.json("intent", "submit", "-f", str(path))["run"]["id"]
    assert quantum("runs", "signal", run, "payment", "--payload", "{", code=2)
    quantum("runs", "signal", run, "payment", "--payload", '{"paid": 5}')

    def asked() -> bool:
        states = {step["key"]: step["state"] for step in quantum.json("runs", "show", run)["steps"]}
        return states["gate"] == "waiting"

    eventually(asked, within=20.0)
    told = quantum.json("runs", "reject", run, "go", "--reason", "not paid enough")
    assert (told["step"], told["run_state"]) == ("gate", "failed")
    assert quantum("runs", "approve", run, "go", code=7)
