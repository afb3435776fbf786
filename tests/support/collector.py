"""A collector of traces on a loopback socket: decodes the protobuf of OTLP, draws what it got."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from tests.support.http_target import HttpTarget, Seen, http_target

SHOWN = ("quantum.try", "http.response.status_code", "quantum.state", "error.type")
NO_TIME = re.compile(r"\s+\d+ ms")
MISSING = "0" * 16
ANYBODY = "send steps"
"""Done by whoever is first: the API, the worker, beat."""
CACHED = "statement "
"""Reads that a cache saves for some seconds: on a slow machine one of them comes due in the middle."""


@dataclass(frozen=True, slots=True)
class Received:
    """One span as it arrived."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    start_ns: int
    end_ns: int
    links: tuple[str, ...]
    attributes: Mapping[str, Any]
    failed: bool


@dataclass(slots=True)
class Collector:
    """What arrived; a span that came twice under one id is kept once."""

    target: HttpTarget
    spans: dict[str, Received] = field(default_factory=dict)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def take(self, request: Seen) -> tuple[int, dict[str, str], bytes]:
        """Decode one export, as a collector does."""
        assert request.path == "/v1/traces", request.path
        assert request.headers["content-type"] == "application/x-protobuf"
        body = gzip.decompress(request.body) if "content-encoding" in request.headers else request.body
        self.headers.append(request.headers)
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                for span in scope.spans:
                    self.spans[span.span_id.hex()] = _received(str(resource["service.name"]), span)
        answer = ExportTraceServiceResponse().SerializeToString()
        return 200, {"Content-Type": "application/x-protobuf"}, answer

    def trace(self, trace_id: str) -> list[Received]:
        """Return the spans of one trace in the order of their beginning."""
        found = [span for span in self.spans.values() if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.start_ns)

    def named(self, trace_id: str, name: str) -> list[Received]:
        """Return the spans of one name."""
        return [span for span in self.trace(trace_id) if span.name == name]

    def tree(self, trace_id: str) -> str:
        """Draw one trace: a line for each span, below the span it belongs to."""
        spans = self.trace(trace_id)
        known = {span.span_id for span in spans}
        names = {span.span_id: _label(span) for span in spans}
        lines: list[str] = []

        def draw(span: Received, depth: int) -> None:
            linked = [names[link] for link in span.links if link in names]
            told = f"  ~ after {', '.join(linked)}" if linked else ""
            took = (span.end_ns - span.start_ns) // 1_000_000
            lines.append(f"{'  ' * depth}{names[span.span_id]}  [{span.service}]  {took} ms{told}")
            for child in spans:
                if child.parent == span.span_id:
                    draw(child, depth + 1)

        for span in spans:
            if span.parent not in known:
                draw(span, 0)
        return "\n".join(lines)


def without_times(tree: str) -> Sequence[str]:
    """Return the lines of a tree in an order that no race decides, without what differs from run to run."""
    lines = (
        line for line in tree.splitlines() if ANYBODY not in line and not line.lstrip().startswith(CACHED)
    )
    return sorted(NO_TIME.sub("", line).rstrip() for line in lines)


@contextmanager
def collector() -> Iterator[Collector]:
    """Collect on a free loopback port until the block ends."""
    with http_target(lambda _: (503, {}, b"")) as target:
        one = Collector(target)
        target.reply = one.take
        yield one


def _label(span: Received) -> str:
    facts = " ".join(
        f"{name.rpartition('.')[2]}={span.attributes[name]}" for name in SHOWN if name in span.attributes
    )
    return f"{span.name} {facts}".rstrip()


def _received(service: str, span: ProtoSpan) -> Received:
    return Received(
        service,
        span.name,
        ProtoSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex() or MISSING,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        tuple(link.span_id.hex() for link in span.links),
        _values(span.attributes),
        span.status.code == 2,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
