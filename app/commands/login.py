"""Sessions at the API: begun, ended."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import click

from app.client.http import ApiClient, ApiProblem, sign_in
from app.client.tokens import Token, forget_token, load_token, save_token
from app.commands.exits import Exit, exit_code
from app.commands.shell import Shell, tenant_command


@click.command()
@click.option("--tenant", required=True, help="Slug of the tenant.")
@click.option("--email", required=True)
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input, no prompt.")
@tenant_command
def login(shell: Shell, tenant: str, email: str, password_stdin: bool) -> None:
    """Sign in and keep the token (mode 0600) for the commands that follow."""
    password = (
        sys.stdin.readline().rstrip("\n") if password_stdin else click.prompt("Password", hide_input=True)
    )
    try:
        document = sign_in(shell.url, tenant, email, password)
    except ApiProblem as problem:
        if exit_code(problem.status) == Exit.AUTH:
            shell.stop("wrong tenant, email or password", Exit.AUTH)
        raise
    keep_session(shell, tenant, email, document)
    shell.show(
        {"tenant": tenant, "email": email, "token_file": str(shell.token_file)},
        lambda: f"Signed in as {email} of {tenant}; the token is in {shell.token_file}.",
    )


@click.command()
@tenant_command
def logout(shell: Shell) -> None:
    """Forget the token, end its session at the API that gave it."""
    saved = load_token(shell.token_file)
    # First of all: whatever the API says, nobody goes on from here.
    forget_token(shell.token_file)
    if saved is not None:
        body = {"refresh_token": saved.refresh_token}
        ApiClient(saved.url).call("POST", "/auth/revoke", body=body)
    words = "Nobody was signed in." if saved is None else f"Signed out: {saved.email} of {saved.tenant}."
    shell.show({"signed_out": saved is not None}, lambda: words)


def keep_session(shell: Shell, tenant: str, email: str, document: Mapping[str, Any]) -> None:
    """Save the tokens of a fresh session for the commands that follow."""
    tokens = document["access_token"], document["refresh_token"]
    save_token(shell.token_file, Token(shell.url, tenant, email, *tokens))
