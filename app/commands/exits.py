"""How a command ends: its exit code, what its failures say."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeVar

import click

from app.domain.errors import Unavailable
from app.domain.upgrades import MigrationRefused, OutOfOrder, SchemaDiffers, StillNeeded, WrongRelease
from app.runtime.failure import RuntimeFailure
from app.settings import SettingsError

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit codes of every command, documented in docs/cli.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    AUTH = 3
    NOT_FOUND = 4
    UNAVAILABLE = 5
    REFUSED = 6
    CONFLICT = 7
    LIMITED = 8
    SERVER = 9


_EXIT_BY_STATUS = {
    401: Exit.AUTH,
    403: Exit.AUTH,
    404: Exit.NOT_FOUND,
    409: Exit.CONFLICT,
    412: Exit.CONFLICT,
    428: Exit.CONFLICT,
    429: Exit.LIMITED,
}
_UNAVAILABLE_STATUSES = frozenset({502, 503, 504})
_SERVER_FAULT = 500


def exit_code(status: int) -> Exit:
    """The documented exit code for an HTTP status (docs/cli.md)."""
    if status in _EXIT_BY_STATUS:
        return _EXIT_BY_STATUS[status]
    if status in _UNAVAILABLE_STATUSES:
        return Exit.UNAVAILABLE
    return Exit.SERVER if status >= _SERVER_FAULT else Exit.REFUSED


def told(command: F) -> F:
    """Show what is wrong with this machine or its settings in words, without a traceback; exit 5 or 2."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except SettingsError as wrong:
            click.echo("\n".join(f"error: {line}" for line in wrong.faults), err=True)
            sys.exit(Exit.USAGE)
        except SchemaDiffers as differs:
            click.echo(f"error: the database was {differs}", err=True)
            sys.exit(Exit.UNAVAILABLE)
        except (StillNeeded, OutOfOrder) as refused:
            click.echo(f"error: {refused}", err=True)
            sys.exit(Exit.CONFLICT)
        except (MigrationRefused, RuntimeFailure, Unavailable, WrongRelease) as failure:
            click.echo(f"error: {failure}", err=True)
            sys.exit(Exit.UNAVAILABLE)

    return wrapped  # type: ignore[return-value]  # the wrapper takes what the command takes
