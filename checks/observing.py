"""Compares the configuration of Prometheus, Grafana, the collector with docker-compose.yml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from checks.report import Fault

PROMETHEUS = "deploy/prometheus/prometheus.yml"
DATASOURCES = "deploy/grafana/provisioning/datasources/quantum.yml"
PROVIDERS = "deploy/grafana/provisioning/dashboards/quantum.yml"
COLLECTOR = "deploy/otel/collector.yml"
UNSEEN = {"flower", "receiver"}
"""Processes that tell no metrics there; how the receiver does is told by the server's slot."""
OWN_PORTS = {"api": 8000, "feed": 8001}
"""Where processes serve them among what else they serve."""

Document = dict[str, Any]


def faults(root: Path, compose: Document, processes: set[str]) -> Iterator[Fault]:
    """Yield every fault of the tree."""
    services: dict[str, Document] = compose.get("services", {})
    yield from mounts(root, services)
    yield from scraping(root, services, processes)
    yield from grafana(_read(root, DATASOURCES), _read(root, PROVIDERS), services)
    yield from collector(_read(root, COLLECTOR), services)


def mounts(root: Path, services: dict[str, Document]) -> Iterator[Fault]:
    """Yield files that a service mounts which are not there."""
    for name, service in services.items():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith("./") and not (root / source).exists():
                yield Fault("docker-compose.yml", 1, f"{name} mounts {source}, which is not there")


def scraping(root: Path, services: dict[str, Document], processes: set[str]) -> Iterator[Fault]:
    """Yield rules that are not loaded, processes that are not scraped, or at another port than they serve."""
    document = _read(root, PROMETHEUS)
    rules = {path.name for path in (root / PROMETHEUS).parent.glob("*.rules.yml")}
    for name in sorted(rules ^ set(document["rule_files"])):
        yield Fault(PROMETHEUS, 1, f"{name} is not loaded, or not there")
    found = {
        name: lookup["port"]
        for job in document["scrape_configs"]
        for lookup in job["dns_sd_configs"]
        for name in lookup["names"]
    }
    for name in sorted(found.keys() ^ (processes - UNSEEN)):
        yield Fault(PROMETHEUS, 1, f"{name} is not scraped, or no process")
    for name, port in found.items():
        told = services.get(name, {}).get("environment", {}).get("METRICS_PORT")
        if port != OWN_PORTS.get(name, told and int(told)):
            yield Fault(PROMETHEUS, 1, f"{name} does not serve its metrics at {port}")


def grafana(sources: Document, providers: Document, services: dict[str, Document]) -> Iterator[Fault]:
    """Yield sources that name no service, dashboards that are not mounted where they are looked for."""
    for source in sources["datasources"]:
        host = urlsplit(source["url"]).hostname
        if host not in services:
            yield Fault(DATASOURCES, 1, f"{source['name']} is at {host}, which is no service")
    mounted = {mount.split(":")[1] for mount in services.get("grafana", {}).get("volumes", [])}
    for provider in providers["providers"]:
        if provider["options"]["path"] not in mounted:
            yield Fault(PROVIDERS, 1, f"{provider['options']['path']} is not mounted")


def collector(document: Document, services: dict[str, Document]) -> Iterator[Fault]:
    """Yield parts of a pipeline that nothing declares, exporters that name no service."""
    for name, pipeline in document["service"]["pipelines"].items():
        for kind, parts in pipeline.items():
            for part in parts:
                if part not in document.get(kind, {}):
                    yield Fault(COLLECTOR, 1, f"{name} names {part}, which {kind} do not declare")
    for name, exporter in document["exporters"].items():
        host = exporter["endpoint"].partition(":")[0]
        if host not in services:
            yield Fault(COLLECTOR, 1, f"{name} sends to {host}, which is no service")


def _read(root: Path, path: str) -> Document:
    document: Document = yaml.safe_load((root / path).read_text())
    return document
