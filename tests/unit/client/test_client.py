"""The API client: folding of progress, pages, repeats, tokens, exit codes."""

from __future__ import annotations

import functools
import io
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from app.client.drawing import run_tree
from app.client.http import CONSISTENCY, ApiClient, ApiProblem, ApiUnreachable
from app.client.progress import layers, step_lines, totals
from app.client.tokens import Token, load_token, load_written, save_token, save_written
from app.client.watching import Sight, look
from app.commands.exits import Exit, exit_code
from app.commands.modules import module
from app.commands.runs import runs

PROBLEM = {
    "type": "urn:quantum:invalid",
    "title": "The input is not valid",
    "status": 422,
    "errors": [{"pointer": "/spec/root", "code": "required", "message": "is required"}],
}


@contextmanager
def serving(
    answers: list[tuple[int, object]], headers: list[dict[str, str]] | None = None
) -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    """An HTTP server that gives canned answers in turn; yields its URL, then what it was asked."""
    asked: list[tuple[str, dict[str, str]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked.append((self.path, dict(self.headers)))
            status, document = answers.pop(0)
            if status == 0:
                self.connection.close()
                return
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in (headers.pop(0) if headers else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PATCH = do_GET

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def step(base: str, state: str, item: int | None = None, needs: tuple[str, ...] = ()) -> dict[str, object]:
    return {"base": base, "state": state, "item": item, "needs": list(needs), "operation": "core.echo"}


def test_a_foreach_is_one_line_that_counts_its_items() -> None:
    lines = step_lines(
        [
            step("digest", "waiting", needs=("list",)),
            step("list", "succeeded"),
            step("digest", "succeeded", 0),
            step("digest", "failed", 1),
            step("digest", "running", 2),
        ]
    )

    digest = lines[0]
    assert (digest.state, digest.total, digest.ended, digest.failed, digest.running) == (
        "waiting",
        3,
        2,
        1,
        1,
    )
    assert totals(lines) == (3, 4)
    assert [(depth, line.base) for depth, line in layers(lines)] == [(0, "list"), (1, "digest")]


def test_a_run_that_is_a_step_stands_below_it() -> None:
    def run(name: str, *steps: dict[str, object]) -> dict[str, object]:
        return {"id": name, "state": "running", "workflow": {"name": name, "version": 1}, "steps": steps}

    call = {**step("call", "waiting"), "key": "call", "child_run_id": "inner"}
    after = {**step("after", "pending", needs=("call",)), "key": "after", "child_run_id": None}
    work = {**step("work", "failed"), "key": "work", "error": {"code": "x", "message": "broken"}}
    with serving([(200, run("outer", call, after)), (200, run("inner", work))]) as (url, asked):
        sight = look(ApiClient(url), "outer")
    assert [path for path, _ in asked] == ["/api/v1/runs/outer", "/api/v1/runs/inner"]
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(run_tree(sight))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    places = [
        next(n for n, line in enumerate(lines) if words in line)
        for words in (
            "run outer",
            "call  core.echo",
            "call: run inner",
            "work  core.echo",
            "work: x: broken",
            "after",
        )
    ]
    assert places == sorted(places), lines
    indents = [len(line) - len(line.lstrip(" │├└─")) for line in lines[:4]]
    assert indents == sorted(set(indents)), lines


def test_running_items_count_by_how_far_they_are() -> None:
    items = [
        step("digest", "succeeded", 0) | {"reused_from": {"run": "q", "step": "digest.0"}},
        step("digest", "running", 1) | {"progress": {"fraction": 0.5, "message": "1 of 2 files"}},
        step("digest", "running", 2) | {"progress": {"fraction": 0.25, "message": None}},
        step("digest", "failed", 3) | {"progress": {"fraction": 0.9, "message": "gone"}},
    ]
    fan = step("digest", "waiting") | {"progress": None}
    (line,) = step_lines([fan, *items])
    assert (line.part, line.message) == (0.75, "1 of 2 files")
    console = Console(width=120, file=io.StringIO())
    keyed = tuple(one | {"key": str(n)} for n, one in enumerate([fan, *items]))
    console.print(run_tree(Sight({"id": "r", "state": "running"}, keyed)))
    drawn = console.file.getvalue()  # type: ignore[attr-defined]  # a StringIO
    assert "2/4  69%  1 of 2 files  1 reused" in drawn


def test_items_reads_page_after_page_up_to_the_limit() -> None:
    pages = [
        (200, {"items": [{"id": 1}], "next_cursor": "c"}),
        (200, {"items": [{"id": 2}], "next_cursor": "d"}),
    ]
    with serving(pages) as (url, asked):
        assert [item["id"] for item in ApiClient(url).items("/runs", limit=2)] == [1, 2]
    assert "cursor=c" in asked[1][0]


def test_a_broken_post_is_sent_again_under_the_same_idempotency_key() -> None:
    with serving([(0, None), (202, {"run": {}})]) as (url, asked):
        assert ApiClient(url, "t").post("/intents", {}) == {"run": {}}
    first, second = (headers["Idempotency-Key"] for _, headers in asked)
    assert first == second


def test_reads_carry_the_token_of_the_last_write_of_whichever_command(tmp_path) -> None:
    path = tmp_path / "cli" / "token.json"
    answers = [(200, {}), (202, {}), (200, {}), (202, {}), (200, {})]
    tokens = [None, "0/A", None, "0/B", None]
    with serving(answers, [{CONSISTENCY: token} if token else {} for token in tokens]) as (url, asked):
        note = functools.partial(save_written, path, url)
        client = ApiClient(url, "t", written=load_written(path, url), note=note)
        client.get("/runs")
        client.post("/intents", {})
        client.get("/runs")
        client.post("/intents", {})
        later = ApiClient(url, "t", written=load_written(path, url))
        later.get("/runs")
    assert [headers.get(CONSISTENCY) for _, headers in asked] == [None, None, "0/A", "0/A", "0/B"]
    assert load_written(path, "http://another") is None
    save_written(
        tmp_path / "cli" / "token.written" / "x", url, "0/C"
    )  # a file is in the way: nothing happens


def test_a_problem_names_each_fault_by_pointer() -> None:
    with serving([(422, PROBLEM)]) as (url, _), pytest.raises(ApiProblem) as caught:
        ApiClient(url).get("/runs")
    assert caught.value.faults == ("/spec/root: is required",)


def test_no_server_is_unreachable() -> None:
    with pytest.raises(ApiUnreachable):
        ApiClient("http://127.0.0.1:9").get("/runs")


def test_the_token_file_is_for_its_owner_alone(tmp_path) -> None:
    token = Token("http://api", "acme", "a@acme.example", "access", "refresh")
    path = tmp_path / "cli" / "token.json"
    save_token(path, token)
    save_token(path, token)
    assert load_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("{")
    assert load_token(path) is None


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, 3), (403, 3), (404, 4), (503, 5), (422, 6), (409, 7), (412, 7), (429, 8), (500, 9)],
)
def test_every_status_has_its_exit_code(status: int, code: int) -> None:
    assert exit_code(status) == code


@pytest.mark.parametrize(
    ("answers", "arguments", "code", "said"),
    [
        ([(404, {"title": "No such run", "status": 404})], ["show", "x"], Exit.NOT_FOUND, "No such run"),
        ([(422, PROBLEM)], ["list"], Exit.REFUSED, "/spec/root: is required"),
        ([(0, None)], ["list"], Exit.UNAVAILABLE, "no answer"),
        ([], ["retry"], Exit.USAGE, "give a run id"),
        ([(200, {"id": "r", "state": "failed", "steps": []})], ["watch", "r"], Exit.FAILED, "failed"),
        (
            [(202, {"id": "r", "state": "running"}), (200, {"id": "r", "state": "failed", "steps": []})],
            ["retry", "r", "--wait"],
            Exit.FAILED,
            "failed",
        ),
    ],
)
def test_a_command_leaves_with_the_documented_code(
    answers: list[tuple[int, object]], arguments: list[str], code: Exit, said: str
) -> None:
    with serving(list(answers)) as (url, _):
        result = CliRunner().invoke(runs, [*arguments, "--url", url, "--token", "t"])
    assert result.exit_code == code, result.output
    assert said in result.output


def test_logs_are_followed_to_the_end_of_the_step() -> None:
    def page(state: str, *numbers: int, cursor: str) -> tuple[int, object]:
        lines = [
            {"attempt": 1, "n": n, "at": "T", "level": "info", "text": f"line {n}", "fields": {"k": [n]}}
            for n in numbers
        ]
        return 200, {"items": lines, "next_cursor": cursor, "state": state}

    answers = [
        page("running", 1, 2, cursor="1.2"),
        page("running", cursor="1.2"),
        page("succeeded", 3, cursor="1.3"),
        page("succeeded", cursor="1.3"),
    ]
    with serving(answers) as (url, asked):
        result = CliRunner().invoke(runs, ["logs", "r", "a", "--follow", "--url", url, "--token", "t"])
    assert result.exit_code == Exit.OK, result.output
    assert [line.split("info")[1].split() for line in result.output.splitlines()] == [
        ["line", str(n), f"k=[{n}]"] for n in (1, 2, 3)
    ]
    assert "after=" not in asked[0][0]
    assert "after=1.2" in asked[2][0]


def test_an_output_is_written_whole_or_not_at_all(tmp_path) -> None:
    target = tmp_path / "out.json"
    arguments = ["output", "r", "a", "--to", str(target), "--token", "t", "--url"]
    with serving([(404, {"title": "no output", "status": 404}), (200, {"big": "x" * 200_000})]) as (
        url,
        asked,
    ):
        assert CliRunner().invoke(runs, [*arguments, url]).exit_code == Exit.NOT_FOUND
        assert list(tmp_path.iterdir()) == []
        result = CliRunner().invoke(runs, [*arguments, url])
    assert result.exit_code == Exit.OK, result.output
    assert json.loads(target.read_text()) == {"big": "x" * 200_000}
    assert asked[1][0] == "/api/v1/runs/r/steps/a/output"
    assert list(tmp_path.iterdir()) == [target]


def test_json_prints_the_documents_alone() -> None:
    with serving([(200, {"items": [{"id": "r1"}], "next_cursor": None})]) as (url, _):
        result = CliRunner().invoke(runs, ["list", "--json", "--url", url, "--token", "t"])
    assert json.loads(result.stdout) == [{"id": "r1"}]


def test_a_manifest_is_registered_its_types_are_listed(tmp_path) -> None:
    path = tmp_path / "module.yaml"
    path.write_text('name: shop\nversion: "1.0"\n')
    kind = {"name": "shop.order", "version": 1, "workflow_name": "shop.order", "workflow_version": 2}
    answers = [(201, {"name": "shop", "version": "1.0"}), (200, {"items": [kind], "next_cursor": None})]
    with serving(answers) as (url, asked):
        made = CliRunner().invoke(module, ["register", "-f", str(path), "--url", url, "--token", "t"])
        listed = CliRunner().invoke(module, ["types", "--url", url, "--token", "t"])
    assert (made.exit_code, made.output) == (Exit.OK, "Registered shop 1.0.\n")
    assert "shop.order" in listed.output
    assert [path.partition("?")[0] for path, _ in asked] == ["/api/v1/modules", "/api/v1/intent_types"]


def test_without_a_token_the_command_says_how_to_sign_in(tmp_path) -> None:
    result = CliRunner().invoke(runs, ["list", "--token-file", str(tmp_path / "none")])
    assert result.exit_code == Exit.AUTH
    assert "quantum login" in result.output


def test_every_tenant_command_speaks_json() -> None:
    for command in runs.commands.values():
        assert isinstance(command, click.Command)
        assert "--json" in {name for option in command.params for name in option.opts}


def test_an_expired_token_is_renewed_once_and_kept(tmp_path) -> None:
    fresh = {"access_token": "new", "refresh_token": "next", "token_type": "Bearer", "expires_in": 900}
    answers = [(401, {"title": "expired"}), (200, fresh), (200, {"items": [], "next_cursor": None})]
    with serving(answers) as (url, asked):
        path = tmp_path / "token.json"
        save_token(path, Token(url, "acme", "a@acme.example", "old", "refresh"))
        result = CliRunner().invoke(runs, ["list", "--json", "--token-file", str(path)])
    assert result.exit_code == Exit.OK, result.output
    assert asked[-1][1]["Authorization"] == "Bearer new"
    kept = load_token(path)
    assert kept is not None
    assert (kept.access_token, kept.refresh_token) == ("new", "next")
