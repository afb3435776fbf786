"""The wiring of traces: settings become a way out of the process."""

from __future__ import annotations

from importlib.metadata import version

from app.observability.tracing import configure_tracing
from app.settings import Settings, default_environment

NO_REPORTS = tuple(
    f"APPLICATIONINSIGHTS_{name}"
    for name in (
        "STATSBEAT_DISABLED_ALL",
        "CONTROLPLANE_DISABLED",
        "SDKSTATS_DISABLED",
        "OPENTELEMETRY_RESOURCE_METRIC_DISABLED",
    )
)


def trace_as(settings: Settings, service: str) -> None:
    """Record this process's spans under the name of what it does, if the settings name a place for them."""
    make = None
    if settings.otlp_endpoint or settings.azure_monitor:
        # The SDK takes a fifth of a second to import: only processes that export anything pay for it.
        from app.observability.exporting import ExportRules, exporting_of  # noqa: PLC0415 - see above

        # The exporter of Application Insights would report its use to Microsoft, and ask there for orders.
        default_environment(dict.fromkeys(NO_REPORTS, "true"))
        make = exporting_of(
            ExportRules(
                service,
                version("quantum-platform"),
                settings.environment,
                settings.otlp_endpoint,
                dict(settings.otlp_headers),
                settings.azure_monitor,
            )
        )
    configure_tracing(make, settings.trace_ratio)
