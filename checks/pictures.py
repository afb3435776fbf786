"""Drawing of docs/img from one recorded run (`python -m checks.pictures [--write]`)."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Any

from app.client.gantt_pictures import GANTTS
from app.client.graph_pictures import GRAPHS
from app.client.portrait import portray
from checks.report import ROOT

FOLDER = ROOT / "docs" / "img"
RECORDED = FOLDER / "run.json"
ENDINGS = {"svg": "svg", "mermaid": "mmd", "json": "json", "dot": "dot"}
SEEN_AFTER = timedelta(seconds=18)


def drawings() -> dict[str, str]:
    """Return every picture of the recorded run by its file's name: what `quantum runs graph, gantt` print."""
    run: dict[str, Any] = json.loads(RECORDED.read_text(encoding="utf-8"))
    seen = portray(run, run["steps"], datetime.fromisoformat(run["created_at"]) + SEEN_AFTER)
    found = {f"run-graph.{ENDINGS[form]}": draw(seen) for form, draw in GRAPHS.items()}
    return found | {f"run-gantt.{ENDINGS[form]}": draw(seen) for form, draw in GANTTS.items()}


def main(arguments: list[str]) -> int:
    """Compare the files with what is drawn now, or write them; the exit code is 1 when one is stale."""
    stale = []
    for name, drawn in drawings().items():
        path = FOLDER / name
        if "--write" in arguments:
            path.write_text(drawn, encoding="utf-8")
        elif not path.is_file() or path.read_text(encoding="utf-8") != drawn:
            stale.append(name)
    if stale:
        sys.stderr.write(f"docs/img is stale ({', '.join(stale)}): run python -m checks.pictures --write\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
