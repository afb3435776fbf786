"""The words for why a run waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

SHOWN_HOLDERS = 5


def explained(answer: Mapping[str, Any]) -> str:
    """Return the answer of `GET /runs/{id}/explain` as lines of text."""
    return "\n".join(_lines(answer))


def _lines(answer: Mapping[str, Any]) -> Iterator[str]:
    waits = ", waits for admission" if answer["waiting"] else ""
    yield f"Run {answer['run_id']} is {answer['state']}{waits}."
    if answer["dedicated"]:
        yield f"Its pool {answer['pool']} is the tenant's alone."
    for reason in answer["reasons"]:
        yield f"{reason['code']}: {reason['message']}"
        holders = (reason["limit"] or {}).get("holders", [])
        if holders:
            more = f" and {len(holders) - SHOWN_HOLDERS} more" if len(holders) > SHOWN_HOLDERS else ""
            yield f"  held by {', '.join(holders[:SHOWN_HOLDERS])}{more}"
    if answer["place"] is not None:
        place = answer["place"]
        yield f"Before it: {place['in_tenant']} runs of the tenant, {place['in_pool']} in its pool."
    if answer["estimate_s"] is not None:
        yield f"At the present rate it starts in about {answer['estimate_s']:.0f} s."
    for step in answer["steps"]:
        yield f"  {step['key']} ({step['state']}): {step['message']}"
