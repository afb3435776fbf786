"""Drawing of docs/state-machine.md from the tables of states (`python -m checks.state_machine [--write]`)."""

from __future__ import annotations

import sys
from pathlib import Path

from app.domain.states import MACHINES

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "state-machine.md"
TITLES = {"runs": "Run", "run_steps": "Step", "intents": "Intent (phase)", "bulk_actions": "Bulk action"}
HEADER = """# State machines

Drawn from `app/domain/states.py` by `python -m checks.state_machine --write`; `make check` fails when this
page is stale.
The database enforces the same tables: a trigger's `WHEN` clause on each relation holds them
(`migrations/sql/0001_transitions.sql`), and a test tries every pair.
"""


def drawing() -> str:
    """The whole page as the tables of states say it."""
    parts = [HEADER]
    for relation, (transitions, initial) in MACHINES.items():
        lines = [f"## {TITLES[relation]}", "", "```mermaid", "stateDiagram-v2"]
        lines += [f"    [*] --> {state}" for state in initial]
        for old, targets in transitions.items():
            lines += [f"    {old} --> {new}" for new in targets]
            if not targets:
                lines.append(f"    {old} --> [*]")
        parts.append("\n".join([*lines, "```", ""]))
    return "\n".join(parts)


def transition_sql() -> str:
    """The triggers that refuse what the tables do not allow, as a revision writes them."""
    parts = [
        "-- Legal transitions, as app/domain/states.py has them (python -m checks.state_machine --sql).",
        "-- The tables stand in functions: a long WHEN clause would be parsed anew by every statement.",
    ]
    for relation, (transitions, initial) in MACHINES.items():
        column = "phase" if relation == "intents" else "state"
        pairs = [f"'{old}>{new}'" for old, targets in transitions.items() for new in targets]
        rows = [", ".join(pairs[start : start + 4]) for start in range(0, len(pairs), 4)]
        born = " AND ".join(f"NEW.{column} <> '{state}'" for state in initial)
        parts += [
            "",
            f"CREATE FUNCTION {relation}_transition() RETURNS trigger LANGUAGE plpgsql AS $$",
            "BEGIN",
            f"  IF TG_OP = 'UPDATE' AND OLD.{column} || '>' || NEW.{column} IN (",
            "    " + ",\n    ".join(rows) + ") THEN",
            "    RETURN NEW;",
            "  END IF;",
            "  RAISE EXCEPTION 'illegal transition of %: % -> %', TG_TABLE_NAME,",
            f"    CASE TG_OP WHEN 'UPDATE' THEN OLD.{column} END, NEW.{column} USING ERRCODE = 'QP001';",
            "END $$;",
            f"CREATE TRIGGER legal_birth BEFORE INSERT ON {relation} FOR EACH ROW",
            f"  WHEN ({born}) EXECUTE FUNCTION {relation}_transition();",
            f"CREATE TRIGGER legal_transition BEFORE UPDATE ON {relation} FOR EACH ROW",
            f"  WHEN (OLD.{column} <> NEW.{column}) EXECUTE FUNCTION {relation}_transition();",
        ]
    return "\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    """Compare the page with the tables, or write it; the exit code is 1 when it is stale."""
    if "--sql" in arguments:
        sys.stdout.write(transition_sql())
        return 0
    if "--write" in arguments:
        DOCUMENT.parent.mkdir(exist_ok=True)
        DOCUMENT.write_text(drawing(), encoding="utf-8")
        return 0
    if not DOCUMENT.exists() or DOCUMENT.read_text(encoding="utf-8") != drawing():
        sys.stderr.write("docs/state-machine.md is stale: run python -m checks.state_machine --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
