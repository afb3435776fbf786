"""The alerts speak of metrics that exist."""

from __future__ import annotations

import re

import yaml

from checks.metrics import declared
from checks.report import ROOT

RULES = ROOT / "deploy" / "prometheus" / "quantum.rules.yml"
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def rules() -> list[dict[str, str]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_every_metric_of_an_alert_is_declared() -> None:
    named = {name for rule in rules() for name in re.findall(r"\bquantum_[a-z0-9_]+", rule["expr"])}
    known = declared().keys()
    assert {name for name in named if name not in known and SUFFIX.sub("", name) not in known} == set()


def test_every_alert_has_a_severity_with_a_runbook_that_is_there() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}  # type: ignore[index]  # a mapping in the file
    links = [rule["annotations"].get("runbook_url") for rule in alerts]  # type: ignore[attr-defined]  # as above
    assert all((ROOT / link).is_file() for link in links if link)
    assert sum(link is None for link in links) == 4, (
        "the alerts of the service levels have causes of every kind"
    )
