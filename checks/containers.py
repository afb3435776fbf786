"""A structural lint of Dockerfile with docker-compose.yml, since no container engine runs here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from checks import observing
from checks.report import ROOT, Fault, tell

PINNED = re.compile(r"^[^:@\s]+(?:/[^:@\s]+)*:(?!latest\b)[\w.-]*\d[\w.-]*(?:@sha256:[0-9a-f]{64})?$")
NEEDED = {"postgres", "valkey", "migrate"}
"""Services beside the processes of the Procfile."""
WITHOUT_A_SHELL = ("otel-collector", "jaeger")
"""Their images hold nothing that could ask for their health."""


def dockerfile(text: str) -> Iterator[Fault]:
    """Yield what is wrong with the Dockerfile: images not pinned, root at the end, no health check."""
    instructions = [
        (number, *line.split(maxsplit=1))
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"^[A-Z]+ ", line)
    ]
    stages = {words[2] for _, word, rest in instructions if word == "FROM" and len(words := rest.split()) > 1}
    users = [rest for _, word, rest in instructions if word == "USER"]
    for number, word, rest in instructions:
        if word == "FROM" and rest.split()[0] not in stages and not PINNED.match(rest.split()[0]):
            yield Fault("Dockerfile", number, f"the image {rest.split()[0]} is not pinned to a version")
        if word == "ADD":
            yield Fault("Dockerfile", number, "ADD fetches or unpacks: use COPY")
        if word in ("CMD", "ENTRYPOINT") and not rest.startswith("["):
            yield Fault("Dockerfile", number, f"{word} runs in a shell, which takes the signals: use a list")
        if "PASSWORD" in rest and word in ("ENV", "ARG"):
            yield Fault("Dockerfile", number, "a password in the image")
    if not users or users[-1].strip() in ("root", "0"):
        yield Fault("Dockerfile", 1, "the image runs as root: end with a USER")
    if not any(word == "HEALTHCHECK" for _, word, _ in instructions):
        yield Fault("Dockerfile", 1, "no HEALTHCHECK")


def compose(text: str, processes: set[str]) -> Iterator[Fault]:
    """Yield what is wrong with the compose file, or missing from it."""
    document: dict[str, Any] = yaml.safe_load(text)
    services: dict[str, dict[str, Any]] = document.get("services", {})
    lines = text.splitlines()
    for name in sorted((processes | NEEDED) - set(services)):
        yield Fault("docker-compose.yml", 1, f"{name} has no service")
    for name, service in services.items():
        line = next((number for number, row in enumerate(lines, 1) if row == f"  {name}:"), 1)
        for words in (*habits(name, service), *references(service, document)):
            yield Fault("docker-compose.yml", line, f"{name} {words}")


def habits(name: str, service: dict[str, Any]) -> Iterator[str]:
    """Yield which habit of a sound service this one lacks."""
    if not PINNED.match(str(service.get("image", ""))):
        yield "has an image that is not pinned to a version"
    if str(service.get("user", "root")).split(":")[0] in ("root", "0"):
        yield "runs as root, or does not say as whom"
    if service.get("privileged"):
        yield "is privileged"
    health = service.get("healthcheck", {})
    ends = health.get("disable") and name in ("migrate", *WITHOUT_A_SHELL)
    inherits = "build" in service and name == "api"  # the image's own asks the API
    if not (health.get("test") or ends or inherits):
        yield "has no health check"
    if "restart" not in service:
        yield "does not say when it is restarted"
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD(?!.*_FILE$)|_AUTH$|_KEY$", variable) and not str(value).startswith("${"):
            yield f"has {variable} written out"


def references(service: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """Yield what the service names that the file does not declare."""
    named = {
        "services": list(service.get("depends_on", {})),
        "volumes": [mount.split(":")[0] for mount in service.get("volumes", []) if mount[0] not in "./"],
        "secrets": service.get("secrets", []),
    }
    for kind, names in named.items():
        for name in names:
            if name not in document.get(kind, {}):
                yield f"names {name}, which {kind} do not declare"


def procfile(text: str) -> set[str]:
    """Return the names of the processes."""
    return {line.partition(":")[0] for line in text.splitlines() if line.strip() and not line.startswith("#")}


def faults(root: Path) -> Iterator[Fault]:
    """Yield every fault of the three files."""
    processes = procfile((root / "Procfile").read_text())
    for name in {"api", "worker", "beat", "relay", "webhooks", "feed", "flower", "receiver"} ^ processes:
        yield Fault("Procfile", 1, f"{name} is missing, or unknown to docker-compose.yml")
    yield from dockerfile((root / "Dockerfile").read_text())
    text = (root / "docker-compose.yml").read_text()
    yield from compose(text, processes)
    yield from observing.faults(root, yaml.safe_load(text), processes)


if __name__ == "__main__":
    sys.exit(tell(faults(ROOT)))
