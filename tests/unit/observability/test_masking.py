"""What is masked in stored values, in log lines."""

from __future__ import annotations

import io
import json
import logging

import pytest

from app.client.http import ApiClient
from app.domain.tracing import TraceContext
from app.observability.context import log_context, step_context
from app.observability.logging import configure_logging, get_log
from app.observability.masking import mask_fields, mask_values, secrets_in_use
from app.observability.metrics import CONTENT_TYPE, STEPS_FINISHED, render_metrics
from app.observability.tracing import working_for
from tests.support.operation_context import context

SECRET = 'p"a/ß'


def test_secrets_are_replaced_in_every_form_and_place():
    value = {SECRET: [f"x{SECRET}y", json.dumps(SECRET), "p%22a%2F%C3%9F", 7, None], "n": {"s": SECRET}}
    masked = mask_values(value, [SECRET, ""])
    assert masked == {"***": ["x***y", '"***"', "***", 7, None], "n": {"s": "***"}}


def test_a_secret_within_another_leaves_no_rest():
    assert mask_values("abcdef abc", ["abc", "abcdef"]) == "*** ***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("at the end sesame-op", "at the end ***"),
        ("sesame-op is within", "sesame-op is within"),
        ("sesam", "sesam"),
    ],
)
def test_the_part_of_a_secret_that_an_excerpt_ends_with_is_masked(text, masked):
    assert mask_values(text, ["sesame-open"]) == masked


@pytest.mark.parametrize(
    ("value", "masked"),
    [
        (
            {"password": "x", "new_token": "y", "api-key": "z", "tokens": 3},
            {"password": "***", "new_token": "***", "api-key": "***", "tokens": 3},
        ),
        ("Bearer abcdefgh1234", "Bearer ***"),
        ("eyJhbGciOiJF.eyJzdWIi.c2ln", "***"),
        ("redis://:pw@host:1/0", "redis://***@host:1/0"),
        ("host=db password=pw user=app", "host=db password=*** user=app"),
        ("password='p w' host=db", "password=*** host=db"),
        (
            "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=aGVsbG8=;EntityPath=e",
            "Endpoint=sb://h/;SharedAccessKeyName=n;SharedAccessKey=***;EntityPath=e",
        ),
        ("AccountName=a;AccountKey=aGVsbG8=", "AccountName=a;AccountKey=***"),
        ("https://a.blob.host/c?sv=1&sig=aGVsbG8%3D&se=2", "https://a.blob.host/c?sv=1&sig=***&se=2"),
        ("signed by whsec_aGVsbG8gd29ybGQ=", "signed by ***"),
    ],
)
def test_credentials_are_known_by_their_names_and_forms(value, masked):
    assert mask_fields(value) == masked


@pytest.fixture
def lines():
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    configure_logging("INFO", "json", process="test", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers, root.level = before


def test_log_lines_carry_their_ids_and_no_secret(lines):
    here = context()
    with (
        log_context(request_id="req-1"),
        step_context(here.tenant_id, here.run_id, "s"),
        secrets_in_use([SECRET]),
    ):
        get_log("a").info("thing_done", text=f"<{SECRET}>", count=1)
        try:
            int(SECRET)
        except ValueError:
            logging.getLogger("b").exception("failed with %s", SECRET)
    get_log("a").info("outside")
    first, second, third = lines()
    assert (first["event"], first["text"], first["count"]) == ("thing_done", "<***>", 1)
    assert (first["request_id"], first["step"], first["run_id"]) == ("req-1", "s", str(here.run_id))
    assert SECRET not in json.dumps(second, ensure_ascii=False)
    assert "***" in second["exception"]
    assert "step" not in third


def test_metrics_are_rendered_as_prometheus_reads_them():
    STEPS_FINISHED.labels("core.echo", "succeeded").inc()
    text = render_metrics().decode()
    assert 'quantum_steps_finished_total{operation="core.echo",outcome="succeeded"}' in text
    assert "# TYPE quantum_relay_lag_seconds gauge" in text
    assert CONTENT_TYPE.startswith("text/plain")


class Terminal(io.StringIO):
    """What tells that people read it."""

    def isatty(self):
        return True


def test_people_get_text_in_a_terminal_machines_json_elsewhere(lines):
    told = {}
    for name, stream in (("terminal", Terminal()), ("pipe", io.StringIO())):
        configure_logging("INFO", "auto", process="test", stream=stream)
        get_log("a").info("thing_done", count=1)
        told[name] = stream.getvalue()
    assert json.loads(told["pipe"])["event"] == "thing_done"
    assert not told["terminal"].startswith("{")
    assert "thing_done" in told["terminal"]


def test_a_line_names_the_trace_that_its_thread_works_for(lines):
    trace = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", sampled=False)
    with working_for(trace):
        get_log("a").info("inside")
        logging.getLogger("b").info("inside_too")
    get_log("a").info("outside")
    assert [line.get("trace_id") for line in lines()] == [trace.trace_id, trace.trace_id, None]


def test_what_a_command_asks_of_the_api_has_one_request_id(lines):
    with log_context(request_id="cli-1"):
        client = ApiClient("http://127.0.0.1:9")
    assert client._http.headers["X-Request-ID"] == "cli-1"
    assert "X-Request-ID" not in ApiClient("http://127.0.0.1:9")._http.headers
