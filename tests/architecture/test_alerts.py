"""Alerts with dashboards speak of metrics that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import yaml

from checks.metrics import declared
from checks.report import ROOT

RULES = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"
BOARDS = ROOT / "deploy" / "grafana"
SUFFIX = re.compile(r"_(bucket|count|sum)$")


def rules() -> list[dict[str, str]]:
    files = [yaml.safe_load(path.read_text()) for path in sorted(RULES.glob("*.rules.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


def unknown(expressions: Iterable[str]) -> set[str]:
    """Return the metrics in the expressions that nothing declares."""
    named = {name for one in expressions for name in re.findall(r"\bquantum_[a-z0-9_]+", one)}
    known = declared().keys()
    return {name for name in named if name not in known and SUFFIX.sub("", name) not in known}


def played() -> set[str]:
    """Return the alerts that promtool's tests name, as firing."""
    files = [yaml.safe_load(path.read_text()) for path in RULES.glob("*.tests.yml")]
    cases = [case for file in files for test in file["tests"] for case in test["alert_rule_test"]]
    return {case["alertname"] for case in cases if case["exp_alerts"]}


def panels() -> list[dict[str, Any]]:
    return [panel for path in BOARDS.glob("*.json") for panel in json.loads(path.read_text())["panels"]]


def test_every_metric_of_an_alert_is_declared() -> None:
    assert unknown(rule["expr"] for rule in rules()) == set()


def test_every_metric_of_a_dashboard_is_declared() -> None:
    targets = [target for panel in panels() for target in panel["targets"]]
    assert len(targets) > 20
    assert unknown(target["expr"] for target in targets) == set()


def test_every_metric_is_on_a_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    words = {SUFFIX.sub("", word) for word in re.findall(r"\bquantum_[a-z0-9_]+", shown)}
    assert {name for name in declared() if SUFFIX.sub("", name) not in words} == set()


def test_dashboards_have_what_grafana_asks_for() -> None:
    boards = [json.loads(path.read_text()) for path in BOARDS.glob("*.json")]
    assert len({board["uid"] for board in boards}) == len(boards)
    for board in boards:
        places = [tuple(panel["gridPos"][axis] for axis in "xy") for panel in board["panels"]]
        assert len(set(places)) == len({panel["id"] for panel in board["panels"]}) == len(places)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])


def test_every_alert_has_a_severity_with_a_runbook_that_is_there() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert {rule["labels"]["severity"] for rule in alerts} == {"page", "ticket"}  # type: ignore[index]  # a mapping in the file
    for rule in alerts:
        page, _, place = rule["annotations"]["runbook_url"].partition("#")  # type: ignore[index]  # as above
        text = (ROOT / page).read_text()
        assert not place or f"\n## {place.capitalize()}" in text, rule["alert"]
        assert f"`{rule['alert']}`" in text, f"{page} says how {rule['alert']} shows"
    assert {rule["alert"] for rule in alerts} == played(), "promtool plays each alert"


def test_the_list_of_runbooks_leads_from_each_alert_to_its_page() -> None:
    linked = {
        (rule["alert"], rule["annotations"]["runbook_url"].partition("#")[0])
        for rule in rules()
        if "alert" in rule
    }  # type: ignore[index]  # as above
    rows = re.findall(
        r"^\| \[[a-z-]+\]\(([a-z-]+\.md)\) \| .* \| (.*)\|$",
        (RUNBOOKS / "README.md").read_text(),
        re.MULTILINE,
    )
    told = {
        (alert, f"docs/runbooks/{page}") for page, alerts in rows for alert in re.findall(r"`(\w+)`", alerts)
    }
    assert told == linked
    assert sorted(page for page, _ in rows) == sorted(
        path.name for path in RUNBOOKS.glob("*.md") if path.stem != "README"
    )
