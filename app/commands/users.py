"""Users of a tenant."""

from __future__ import annotations

import sys

import click

from app.client.http import sign_in
from app.commands.login import keep_session
from app.commands.shell import Shell, tenant_command

ROLES = ("tenant_admin", "operator", "developer", "viewer", "auditor")


def asked_password(password_stdin: bool) -> str:
    """A new password, from standard input or typed twice."""
    if password_stdin:
        return sys.stdin.readline().rstrip("\n")
    typed: str = click.prompt("New password", hide_input=True, confirmation_prompt=True)
    return typed


@click.group()
def user() -> None:
    """Create, list users; change one's own password."""


@user.command("create")
@click.argument("email")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice(ROLES))
@click.option("--name", "display_name", help="Name to show; default: the email address.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, no prompt.")
@tenant_command
def create_user(
    shell: Shell, email: str, roles: tuple[str, ...], display_name: str | None, password_stdin: bool
) -> None:
    """Create a user in the tenant you are signed in to."""
    body = {
        "email": email,
        "password": asked_password(password_stdin),
        "display_name": display_name or email,
        "roles": list(roles),
    }
    document = shell.client.post("/users", body)
    shell.show(document, lambda: f"User {email} is created with {', '.join(roles)}.")


@user.command("password")
@click.option("--password-stdin", is_flag=True, help="Read both from standard input, the present one first.")
@tenant_command
def change_password(shell: Shell, password_stdin: bool) -> None:
    """Change your own password; every session of yours ends but a fresh one here."""
    current = (
        sys.stdin.readline().rstrip("\n")
        if password_stdin
        else click.prompt("Present password", hide_input=True)
    )
    new = asked_password(password_stdin)
    me = shell.client.get("/me")
    shell.client.put("/me/password", {"current": current, "new": new})
    document = sign_in(shell.url, me["tenant"], me["email"], new)
    keep_session(shell, me["tenant"], me["email"], document)
    shell.show({"email": me["email"]}, lambda: "The password is changed; other sessions have ended.")


@user.command("list")
@tenant_command
def list_users(shell: Shell) -> None:
    """Everybody in the tenant."""
    shell.show_list("/users", ("email", "display_name", "state", "roles"))
