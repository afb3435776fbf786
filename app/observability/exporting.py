"""The way of spans out of the process: batch processors before OTLP or Application Insights."""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.domain.breakers import BreakerRules
from app.domain.tracing import TraceContext
from app.observability.breakers import Guard
from app.observability.metrics import TRACE_SPANS
from app.observability.tracing import Exporting, FinishedSpan

QUEUE = 4096
"""Spans that wait in a process; those beyond are dropped, and the log tells so."""
BATCH = 512
EVERY_MS = 1000
TIMEOUT_S = 2
"""How long one attempt to send may take; it costs a thread of its own, and at most this at the end."""

RULES = BreakerRules(failures=3, first_s=5.0, most_s=60.0)
"""Spans that come while a destination is left alone are lost, as they would be after its time-out."""

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_SCOPE = InstrumentationScope("quantum")
_OK = Status(StatusCode.UNSET)


@dataclass(frozen=True, slots=True)
class ExportRules:
    """Where spans go: an OTLP/HTTP base URL, an Application Insights connection string, or both."""

    service: str
    version: str
    environment: str
    otlp_endpoint: str = ""
    otlp_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    azure: str = field(default="", repr=False)


def exporting_of(rules: ExportRules) -> Callable[[], Exporting] | None:
    """Return what makes the exporting of this process, None when spans are to go nowhere."""
    return partial(SpanExporting, rules) if rules.otlp_endpoint or rules.azure else None


class SpanExporting:
    """Hands finished spans to batch processors, one for each destination."""

    def __init__(self, rules: ExportRules) -> None:
        self._resource = Resource(
            {
                "service.name": f"quantum-{rules.service}",
                "service.namespace": "quantum",
                "service.version": rules.version,
                "deployment.environment.name": rules.environment,
            }
        )
        # The provider is for instruments of other libraries inside an operation: they go on below its span,
        # and begin no trace of their own.
        self._provider = TracerProvider(
            sampler=ParentBased(ALWAYS_OFF),
            resource=self._resource,
            span_limits=SpanLimits(max_attributes=64, max_attribute_length=1024),
            shutdown_on_exit=False,
        )
        self._exporters = _exporters(rules)
        self._processors = [
            BatchSpanProcessor(
                exporter,
                max_queue_size=QUEUE,
                schedule_delay_millis=EVERY_MS,
                max_export_batch_size=BATCH,
            )
            for exporter in self._exporters
        ]
        for processor in self._processors:
            self._provider.add_span_processor(processor)
        trace.set_tracer_provider(self._provider)
        atexit.register(self.flush)

    def take(self, span: FinishedSpan) -> None:
        """Queue the span; it is dropped when the queue is full."""
        readable = _readable(span, self._resource)
        for processor in self._processors:
            processor.on_end(readable)

    def entered(self, context: TraceContext) -> Callable[[], None]:
        """Make the span the current one of OpenTelemetry's own context."""
        here = trace.set_span_in_context(NonRecordingSpan(_span_context(context, remote=False)))
        return partial(otel_context.detach, otel_context.attach(here))

    def flush(self) -> None:
        """Send what is queued and end: all have `TIMEOUT_S` together, then the rest is given up."""
        for exporter in self._exporters:
            exporter.close_by(time.monotonic() + TIMEOUT_S)
        for processor in self._processors:
            processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK does not annotate it


class _Bounded(SpanExporter):
    """An exporter that counts what it sends, leaves alone what is away, ends with its process."""

    def __init__(self, destination: str, exporter: SpanExporter) -> None:
        self._destination = destination
        self._exporter = exporter
        self._guard = Guard(f"traces_{destination}", RULES)
        self._until = float("inf")

    def close_by(self, moment: float) -> None:
        """Begin no export after the moment of the monotonic clock."""
        self._until = moment

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans."""
        result = SpanExportResult.FAILURE
        if time.monotonic() <= self._until and self._guard.allows():
            result = self._exporter.export(spans)
            if result is SpanExportResult.SUCCESS:
                self._guard.succeeded()
            else:
                self._guard.failed()
        TRACE_SPANS.labels(self._destination, "sent" if result is SpanExportResult.SUCCESS else "lost").inc(
            len(spans)
        )
        return result

    def shutdown(self) -> None:
        """End the exporter."""
        self._exporter.shutdown()


def _exporters(rules: ExportRules) -> list[_Bounded]:
    exporters: list[_Bounded] = []
    if rules.otlp_endpoint:
        endpoint = rules.otlp_endpoint.rstrip("/") + "/v1/traces"
        otlp = OTLPSpanExporter(endpoint=endpoint, headers=dict(rules.otlp_headers), timeout=TIMEOUT_S)
        exporters.append(_Bounded("otlp", otlp))
    if rules.azure:
        # Brought by the extra `azure` only, and slow to import.
        from azure.monitor.opentelemetry.exporter import (  # noqa: PLC0415 - see above
            AzureMonitorTraceExporter,
        )

        azure = AzureMonitorTraceExporter(
            connection_string=rules.azure,
            disable_offline_storage=True,  # spans are not worth a file of customers' names on disk
            timeout=float(TIMEOUT_S),
            retry_total=1,
        )
        exporters.append(_Bounded("azure", azure))
    return exporters


def _readable(span: FinishedSpan, resource: Resource) -> ReadableSpan:
    context = span.context
    status = _OK if span.error is None else Status(StatusCode.ERROR, span.error)
    fault = {} if span.error is None else {"error.type": span.error}
    return ReadableSpan(
        name=span.name,
        context=_span_context(context, remote=False),
        parent=None if span.parent is None else _span_context(context.at(span.parent), remote=True),
        resource=resource,
        attributes={**span.attributes, **fault},
        links=[Link(_span_context(link, remote=True)) for link in span.links],
        kind=_KINDS[span.kind],
        status=status,
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )


def _span_context(context: TraceContext, *, remote: bool) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), remote, flags)
