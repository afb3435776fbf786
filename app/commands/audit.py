"""The audit trail: listed, verified."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.pretty import Pretty

from app.commands.exits import Exit
from app.commands.shell import Shell, picked, table, tenant_command

_COLUMNS = ("created_at", "action", "subject", "outcome", "source_ip", "request_id")


@click.group()
def audit() -> None:
    """List or verify who did what."""


@audit.command("list")
@click.option("--action", help="Only this action, as `run.cancel`.")
@click.option("--subject", help="Only this subject, as `runs/<id>`.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
def list_audit(shell: Shell, action: str | None, subject: str | None, limit: int) -> None:
    """The latest first."""
    found = list(shell.client.items("/audit", limit=limit, action=action, subject=subject))
    rows = ((*picked(item, *_COLUMNS), item["actor"].get("email")) for item in found)
    shell.show(found, lambda: table((*_COLUMNS, "actor"), rows))


@audit.command("verify")
@click.option("--checkpoint", metavar="SEQ:MAC", help="A head noted earlier: the chain must still hold it.")
@click.option(
    "--lost-key",
    "lost_keys",
    metavar="KEY_ID",
    multiple=True,
    help="A key that nobody has any more: seals under it are counted, not reported.",
)
@tenant_command
def verify_audit(shell: Shell, checkpoint: str | None, lost_keys: tuple[str, ...]) -> None:
    """Compute the whole chain of seals anew; exit 1 when records or seals were changed.

    Prints the head of the chain as SEQ:MAC. Keep it elsewhere: given as --checkpoint later, it shows whether
    the end of the chain was cut off or the chain was made anew.
    """
    seq, mac = _checkpoint(checkpoint)
    report: dict[str, Any] = {"faults": [], "seals": 0, "records": 0, "unverifiable": 0}
    first: int | None = 1
    while first is not None:
        found = shell.client.get("/audit/verification", first=first, limit=100)
        faults = [each for each in found["faults"] if each["key_id"] not in lost_keys]
        report["faults"] += faults
        report["unverifiable"] += len(found["faults"]) - len(faults)
        report["seals"] += found["seals"]
        report["records"] += found["records"]
        report |= {"unsealed": found["unsealed"], "head": f"{found['head_seq']}:{found['head_mac']}"}
        first = found["next"]
    if seq:
        report["faults"] += _held(shell, seq, mac, int(report["head"].partition(":")[0]))
    report["intact"] = not report["faults"]
    shell.show(report, lambda: Pretty(report))
    if report["faults"]:
        sys.exit(Exit.FAILED)


def _held(shell: Shell, seq: int, mac: str, head: int) -> list[dict[str, Any]]:
    """Return what contradicts the checkpoint."""
    if seq > head:
        return [{"seq": seq, "code": "cut_off", "message": f"the chain ends with seal {head}"}]
    there = shell.client.get("/audit/verification", first=seq, limit=1)["head_mac"]
    if there != mac:
        return [{"seq": seq, "code": "other_chain", "message": "the seal is not the one of the checkpoint"}]
    return []


def _checkpoint(given: str | None) -> tuple[int, str]:
    if given is None:
        return 0, ""
    seq, _, mac = given.partition(":")
    if not seq.isdecimal() or int(seq) < 1 or not mac:
        raise click.BadParameter("write SEQ:MAC, as `audit verify` prints it", param_hint="--checkpoint")
    return int(seq), mac.lower()
