"""What every tenant command shares: options, the signed-in client, output, exit codes."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from app.client.http import ApiClient, ApiProblem, ApiUnreachable
from app.client.tokens import Token, load_token, load_written, renewing, save_token, save_written
from app.commands.exits import Exit, exit_code
from app.domain.terminal import json_text, visible
from app.settings import inherited_environment
from app.settings.state import state_directory

DEFAULT_PORT = 8000
WIDTH_OF_A_PIPE = 1000
ID_WIDTH = 36


class Shell:
    """One command's surroundings: where the API is, who asks, how answers are shown."""

    def __init__(self, url: str | None, token: str | None, token_file: Path | None, as_json: bool) -> None:
        environ = inherited_environment()
        self.token_file = token_file or state_directory(environ) / "cli" / "token.json"
        self._saved = load_token(self.token_file)
        self._token = token
        saved_url = self._saved.url if self._saved and not token else None
        self.url = (url or saved_url or default_url(environ)).rstrip("/")
        self.as_json = as_json
        # Names and messages are other people's: their brackets are text, not markup.
        # A pipe has no width: what reads it must not get half an identifier.
        width = None if sys.stdout.isatty() or environ.get("COLUMNS") else WIDTH_OF_A_PIPE
        self.console = Console(highlight=False, markup=False, emoji=False, width=width)
        self.errors = Console(stderr=True, highlight=False, markup=False, emoji=False)

    @functools.cached_property
    def client(self) -> ApiClient:
        """The signed-in client, which renews an expired access token; exits 3 when nobody is signed in."""
        if self._token:
            return self._signed_in(self._token)
        if self._saved is None:
            self.stop("not signed in: run `quantum login` or set QUANTUM_TOKEN", Exit.AUTH)
        if self._saved.url.rstrip("/") != self.url:
            # Another server must not get to see the tokens of this one.
            words = f"signed in at {self._saved.url}, not at {self.url}: run `quantum login --url {self.url}`"
            self.stop(words, Exit.AUTH)
        return self._signed_in(self._saved.access_token, self._renewed)

    def connected(self) -> ApiClient:
        """A client whose token is good now, for what outlives one; raises ApiProblem when none is."""
        if self._token is None:
            self._saved = load_token(self.token_file)  # another command may have renewed it
        self.__dict__.pop("client", None)
        client = self.client
        client.get("/me")
        return client

    def _signed_in(self, token: str, renewed: Callable[[], str] | None = None) -> ApiClient:
        """A client that goes on from the last write of whichever command it was."""
        written = load_written(self.token_file, self.url)
        note = functools.partial(save_written, self.token_file, self.url)
        reader = _as_it_is if self.as_json else visible
        return ApiClient(self.url, token, written=written, note=note, reader=reader, renewed=renewed)

    def _renewed(self) -> str:
        """Return an access token in place of the one that is not good any more; raises ApiProblem."""
        with renewing(self.token_file):
            kept = load_token(self.token_file)
            if kept is None or kept.url.rstrip("/") != self.url:
                self.stop("the session was ended meanwhile: run `quantum login`", Exit.AUTH)
            if kept == self._saved:  # else another command has renewed it
                kept = self._refreshed(kept)
            self._saved = kept
        return kept.access_token

    def _refreshed(self, old: Token) -> Token:
        body = {"refresh_token": old.refresh_token}
        document = ApiClient(self.url).call("POST", "/auth/refresh", body=body).document
        fresh = Token(old.url, old.tenant, old.email, document["access_token"], document["refresh_token"])
        save_token(self.token_file, fresh)
        return fresh

    def show(self, document: Any, human: Callable[[], Any]) -> None:
        """Print the document as JSON with --json, else what `human` returns (a rich renderable or text)."""
        if self.as_json:
            click.echo(json_text(document, indent=2))
        else:
            shown = human()
            self.console.print(shown, soft_wrap=isinstance(shown, str))

    def show_list(self, place: str, columns: Sequence[str], limit: int | None = None, **query: Any) -> None:
        """Show what is at a place of the API: all of it, or so many; for people, these members of each."""
        self.show_all(list(self.client.items(place, limit=limit, **query)), columns)

    def show_all(self, documents: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Print the documents as JSON with --json, else a table with these members of each."""
        self.show(documents, lambda: table(columns, (picked(one, *columns) for one in documents)))

    def show_one(self, document: Mapping[str, Any], columns: Sequence[str]) -> None:
        """Print the document as JSON with --json, else a table of one row with these members."""
        self.show(document, lambda: table(columns, [picked(document, *columns)]))

    def stop(self, message: str, code: Exit) -> NoReturn:
        """Say why on stderr, leave with a documented exit code."""
        if self.as_json:
            click.echo(json.dumps({"title": message, "exit_code": code}), err=True)
        else:
            self.errors.print(Text.assemble(("error:", "red"), f" {visible(message)}"), soft_wrap=True)
        sys.exit(code)

    def stop_for(self, problem: ApiProblem) -> NoReturn:
        """Show a problem document: its title, then each fault with its JSON pointer."""
        code = exit_code(problem.status)
        if self.as_json:
            click.echo(json.dumps(problem.document), err=True)
            sys.exit(code)
        detail = visible(problem.document.get("detail"))
        lines: list[str] = [
            f"error: {visible(problem.title)} ({problem.status})",
            *([f"  {detail}"] if detail else []),
        ]
        lines += [f"  {visible(fault)}" for fault in problem.faults]
        if request_id := problem.document.get("request_id"):
            lines.append(f"  request id {request_id}")
        click.echo("\n".join(lines), err=True)
        sys.exit(code)


def _as_it_is(document: Any) -> Any:
    return document


def default_url(environ: Mapping[str, str]) -> str:
    """Where the API of this checkout listens, by API_PORT; the CLI works without the servers' settings."""
    return f"http://127.0.0.1:{environ.get('API_PORT') or DEFAULT_PORT}"


def tenant_command(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command --url, --token, --token-file, --json; its first argument is the `Shell`.

    Problems of the API leave with their documented exit code, no answer with 5.
    """

    @click.option("--url", envvar="QUANTUM_URL", help="Base URL of the API. Default: this checkout's.")
    @click.option("--token", envvar="QUANTUM_TOKEN", help="Access token; wins over the saved one.")
    @click.option(
        "--token-file",
        envvar="QUANTUM_TOKEN_FILE",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Where `quantum login` keeps the token. Default: cli/token.json in the state directory.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @functools.wraps(function)
    def command(
        *args: Any, url: str | None, token: str | None, token_file: Path | None, as_json: bool, **options: Any
    ) -> None:
        shell = Shell(url, token, token_file, as_json)
        try:
            function(shell, *args, **options)
        except ApiProblem as problem:
            shell.stop_for(problem)
        except ApiUnreachable as error:
            shell.stop(f"{error}; is `quantum up` running?", Exit.UNAVAILABLE)
        except TimeoutError as error:
            shell.stop(str(error), Exit.UNAVAILABLE)

    return command


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table for people; empty cells for None."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        # Identifiers are there to be copied: other columns give way.
        identifies = name == "id" or name.endswith("_id")
        made.add_column(name, min_width=ID_WIDTH if identifies else None, no_wrap=identifies)
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.3f}"
    return "" if value is None else str(value)


def picked(document: Mapping[str, Any], *names: str) -> tuple[Any, ...]:
    """The named members of a document, None where absent."""
    return tuple(document.get(name) for name in names)
