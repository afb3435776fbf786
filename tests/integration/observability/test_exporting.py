"""Spans on their way out: a collector that is away, a fork, Application Insights over HTTPS."""

from __future__ import annotations

import gzip
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.bootstrap.traces import NO_REPORTS, trace_as
from app.domain.tracing import TraceContext
from app.observability.tracing import configure_tracing, flush_traces, set_current, span, working_for
from app.settings import inherited_environment, load_settings
from tests.support.collector import collector
from tests.support.http_target import Seen, http_target

KEY = "00000000-1111-2222-3333-444444444444"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PROCESS = f"""
import os, sys, time
from app.bootstrap.traces import trace_as
from app.domain.tracing import TraceContext
from app.observability import tracing
from app.settings import load_settings
settings = load_settings(os.environ)
trace_as(settings, "probe")
here = TraceContext("{TRACE}", "b" * 16, True)
def work(name, number):
    with tracing.working_for(here):
        for _ in range(number):
            with tracing.span(name, "client", http__request__method="GET", server__address="a.example"):
                pass
"""


def run(code: str, environ: dict[str, str]) -> tuple[float, str]:
    """Run a process that traces; return its seconds with its output."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", PROCESS + code],
        env={**inherited_environment(), **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began, done.stdout


def test_a_collector_that_is_away_costs_no_time_and_no_process(environ: dict[str, str]) -> None:
    away = {**environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    code = "began = time.monotonic(); work('w', 10_000); print(time.monotonic() - began)"
    whole, said = run(code, away)
    assert float(said) < 5  # ten thousand spans, half of them dropped
    assert whole < 25


def test_a_forked_child_and_instruments_of_other_libraries(environ: dict[str, str]) -> None:
    code = """
work("parent", 1)
pid = os.fork()
if pid == 0:
    work("child", 3)
    tracing.flush_traces()
    os._exit(0)
os.waitpid(pid, 0)
work("parent", 1)
from opentelemetry import trace
with tracing.working_for(here), tracing.span("operation"):
    with trace.get_tracer("other").start_as_current_span("theirs"):
        pass
with trace.get_tracer("other").start_as_current_span("alone"):
    pass
"""
    with collector() as got:
        run(code, {**environ, "OTEL_EXPORTER_OTLP_ENDPOINT": got.target.url + "/"})
    assert len(got.named(TRACE, "child")) == 3
    assert len(got.named(TRACE, "parent")) == 2
    (ours,) = got.named(TRACE, "operation")
    (theirs,) = got.named(TRACE, "theirs")
    assert theirs.parent == ours.span_id
    assert len(got.spans) == 7  # an instrument begins no trace of its own


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback with its key, in one file that also serves as the authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@contextmanager
def insights(certificate: Path) -> Iterator[tuple[str, list[Any], list[Seen]]]:
    """Serve what Application Insights does at /v2.1/track; yield URL, envelopes, requests."""
    envelopes: list[Any] = []
    asked: list[Seen] = []

    def reply(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        asked.append(seen)
        body = gzip.decompress(seen.body) if seen.headers.get("content-encoding") == "gzip" else seen.body
        items = json.loads(body)
        envelopes.extend(items)
        answer = {"itemsReceived": len(items), "itemsAccepted": len(items), "errors": []}
        return 200, {"Content-Type": "application/json"}, json.dumps(answer).encode()

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with http_target(reply, tls) as target:
        yield f"https://{target.name}", envelopes, asked


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Variables that tracing may set, taken back afterwards."""
    for name in NO_REPORTS:
        monkeypatch.setenv(name, "true")
    yield
    configure_tracing(None, 0.0)
    set_current(None)


def tell(environ: dict[str, str], url: str) -> None:
    """Export two spans from this process to Application Insights."""
    where = f"InstrumentationKey={KEY};IngestionEndpoint={url}/"
    trace_as(load_settings({**environ, "APPLICATIONINSIGHTS_CONNECTION_STRING": where}), "probe")
    with working_for(TraceContext(TRACE, "b" * 16, True)):
        for _ in range(2):
            with span("GET", "client", http__request__method="GET", server__address="a.example"):
                pass
    flush_traces()


@pytest.mark.usefixtures("traced")
def test_application_insights_gets_the_spans(
    environ: dict[str, str], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with insights(certificate) as (url, envelopes, asked):
        tell(environ, url)
    assert {seen.path for seen in asked} == {"/v2.1/track"}
    assert [one["data"]["baseType"] for one in envelopes] == ["RemoteDependencyData"] * 2
    first = envelopes[0]
    assert first["iKey"] == KEY
    assert first["tags"]["ai.operation.id"] == TRACE
    assert first["tags"]["ai.cloud.role"] == "quantum.quantum-probe"
    assert first["tags"]["ai.operation.parentId"] == "b" * 16


@pytest.mark.usefixtures("traced")
def test_a_peer_with_another_certificate_gets_nothing(environ: dict[str, str], certificate: Path) -> None:
    with insights(certificate) as (url, envelopes, _):
        tell(environ, url)
    assert envelopes == []
