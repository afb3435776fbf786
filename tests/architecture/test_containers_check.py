"""The container lint tells each seeded fault, passes the real files."""

from __future__ import annotations

import re

import pytest

from checks import containers
from tests.support.database import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = (ROOT / "docker-compose.yml").read_text()
PROCESSES = containers.procfile((ROOT / "Procfile").read_text())


def test_the_real_files_have_no_fault() -> None:
    assert list(containers.faults(ROOT)) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (r"USER 10001", "USER root", "runs as root"),
        (r"FROM python:\S+", "FROM python:latest", "not pinned"),
        (r"(?m)^HEALTHCHECK[^\n]*\n[^\n]*\n", "", "no HEALTHCHECK"),
        (r"(?m)^CMD .*$", "CMD granian app.wsgi", "in a shell"),
        (r"(?m)^WORKDIR /srv/quantum$", "ENV DB_PASSWORD=x", "password in the image"),
    ],
)
def test_a_fault_of_the_dockerfile_is_told(old: str, new: str, words: str) -> None:
    broken, count = re.subn(old, new, DOCKERFILE)
    assert count
    assert any(words in fault.words for fault in containers.dockerfile(broken))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("image: postgres:18.1-bookworm", "image: postgres", "not pinned"),
        ('user: "10001"', 'user: "0"', "runs as root"),
        ("  relay:\n", "  relais:\n", "relay has no service"),
        ("healthcheck: *doctor\n\n  feed", "stdin_open: false\n\n  feed", "relay has no health check"),
        ("POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?}", "POSTGRES_PASSWORD: postgres", "written out"),
        ("      - valkey:/data", "      - redis:/data", "names redis"),
        ("secrets: [jwt_key, secrets_key]", "secrets: [jwt]", "names jwt"),
        (
            "    restart: unless-stopped\n    environment:\n      VALKEY",
            "    environment:\n      VALKEY",
            "restarted",
        ),
    ],
)
def test_a_fault_of_the_compose_file_is_told(old: str, new: str, words: str) -> None:
    assert old in COMPOSE
    told = [fault.words for fault in containers.compose(COMPOSE.replace(old, new), PROCESSES)]
    assert any(words in fault for fault in told)
