"""Tenants: the first one over the database, the others over HTTP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import click
from rich.console import Group

from app.commands.exits import Exit
from app.commands.shell import Shell, picked, table, tenant_command
from app.commands.users import asked_password

SHORTEST_PASSWORD = 10


@click.group()
def tenant() -> None:
    """Create, list tenants."""


@tenant.command("create")
@click.argument("slug", required=False)
@click.option("--first", is_flag=True, help="Over the database: the platform's own tenant, made once.")
@click.option("--name", help="Name to show; default: the slug.")
@click.option("--email", required=True, help="Of the tenant's first administrator.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, no prompt.")
@tenant_command
def create_tenant(
    shell: Shell, slug: str | None, first: bool, name: str | None, email: str, password_stdin: bool
) -> None:
    """Create the tenant SLUG with its first administrator; needs a platform administrator's token.

    The platform's own tenant, whose administrator makes the others, comes first: --first, without SLUG.
    """
    if first == (slug is not None):
        raise click.UsageError("give a SLUG, or --first")
    password = asked_password(password_stdin)
    if len(password) < SHORTEST_PASSWORD:
        shell.stop(f"the password must have at least {SHORTEST_PASSWORD} characters", Exit.REFUSED)
    if slug is None:
        # Over the database: what that needs, no other command of this group loads.
        from app.commands.first_tenant import create_first  # noqa: PLC0415 - as above

        document = create_first(shell, name or "Platform", email, password)
    else:
        admin = {"email": email, "password": password}
        document = shell.client.post("/tenants", {"slug": slug, "name": name or slug, "admin": admin})
    shell.show(document, lambda: f"Tenant {document['slug']} is created; {email} is its administrator.")


@tenant.command("list")
@tenant_command
def list_tenants(shell: Shell) -> None:
    """Every tenant; needs a platform administrator's token."""
    shell.show_list("/tenants", ("slug", "name", "state", "created_at", "id"))


@tenant.command("limits")
@click.argument("tenant", required=False)
@click.option(
    "--weight", type=click.IntRange(1, 1000), help="Its share against the others' when they contend."
)
@click.option("--max-running-runs", type=click.IntRange(0), help="Runs at once; further ones wait.")
@click.option("--unlimited-runs", is_flag=True, help="Take the limit of runs away.")
@click.option("--max-running-steps", type=click.IntRange(0), help="Steps at once; further ones wait.")
@click.option("--unlimited-steps", is_flag=True, help="Take the limit of steps away.")
@click.option(
    "--cap", "caps", multiple=True, metavar="KIND=N", help="It may keep N of the kind; KIND=usual: as others."
)
@tenant_command
def limits(
    shell: Shell,
    tenant: str | None,
    weight: int | None,
    unlimited_runs: bool,
    unlimited_steps: bool,
    caps: tuple[str, ...],
    **most: int | None,
) -> None:
    """The share, limits, caps of TENANT, by slug or id, else of your own; the platform changes them."""
    path = f"/tenants/{id_of(shell, tenant) if tenant else shell.client.get('/me')['tenant_id']}/limits"
    found = shell.client.call("GET", path)
    document = found.document
    wanted: dict[str, Any] = {"weight": weight, **most}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    wanted |= {"max_running_runs": None} if unlimited_runs else {}
    wanted |= {"max_running_steps": None} if unlimited_steps else {}
    own = {kind: cap["most"] for kind, cap in document["caps"].items() if cap["most"] != cap["usual"]}
    wanted |= {"caps": with_caps(own, caps)} if caps else {}
    if wanted:
        body = {name: document[name] for name in ("weight", "max_running_runs", "max_running_steps")}
        document = shell.client.put(path, {**body, "caps": own, **wanted}, match=found.headers["ETag"])
    columns = ("weight", "max_running_runs", "max_running_steps", "version", "updated_at")
    kept = [(kind, cap["most"], cap["usual"], cap["in_use"]) for kind, cap in document["caps"].items()]
    shell.show(
        document,
        lambda: Group(
            table(columns, [picked(document, *columns)]), table(("kept", "most", "usual", "in_use"), kept)
        ),
    )


def with_caps(own: Mapping[str, int], orders: Iterable[str]) -> dict[str, int]:
    """Return the caps that are not as usual, changed by KIND=N or KIND=usual; raises UsageError."""
    caps = dict(own)
    for order in orders:
        kind, separator, most = order.partition("=")
        if not separator or not (most == "usual" or (most.isascii() and most.isdigit())):
            raise click.UsageError(f"--cap takes KIND=N or KIND=usual, not {order}")
        caps.pop(kind, None)
        if most != "usual":
            caps[kind] = int(most)
    return caps


@tenant.command("suspend")
@click.argument("tenant")
@tenant_command
def suspend(shell: Shell, tenant: str) -> None:
    """Close TENANT, by slug or id: nobody signs in, nothing of it begins; what runs may end, rows stay."""
    _set_state(shell, tenant, "suspended")


@tenant.command("resume")
@click.argument("tenant")
@tenant_command
def resume(shell: Shell, tenant: str) -> None:
    """Open TENANT, by slug or id, again; what waited goes on, schedules catch up as their policies say."""
    _set_state(shell, tenant, "active")


def id_of(shell: Shell, tenant: str) -> str:
    """Return the id of a tenant that is named by its slug or its id; exits 4 where nobody has the slug."""
    try:
        return str(UUID(tenant))
    except ValueError:
        pass  # it is a slug
    me = shell.client.get("/me")
    if me["tenant"] == tenant:
        return str(me["tenant_id"])
    found = next((each for each in shell.client.items("/tenants") if each["slug"] == tenant), None)
    if found is None:
        shell.stop(f"no tenant has the slug {tenant}", Exit.NOT_FOUND)
    return str(found["id"])


def _set_state(shell: Shell, tenant: str, state: str) -> None:
    path = f"/tenants/{id_of(shell, tenant)}"
    headers = {"If-Match": shell.client.call("GET", path).headers["ETag"]}
    document = shell.client.call("PATCH", path, body={"state": state}, headers=headers).document
    columns = ("slug", "name", "state", "version")
    shell.show_one(document, columns)
