"""Signing in at the API."""

from __future__ import annotations

import sys

import click

from app.client.http import ApiProblem, sign_in
from app.client.tokens import Token, save_token
from app.commands.shell import Exit, Shell, exit_code, tenant_command


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
    save_token(
        shell.token_file, Token(shell.url, tenant, email, document["access_token"], document["refresh_token"])
    )
    shell.show(
        {"tenant": tenant, "email": email, "token_file": str(shell.token_file)},
        lambda: f"Signed in as {email} of {tenant}; the token is in {shell.token_file}.",
    )
