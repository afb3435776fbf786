"""The operator's hand on the sinks of events, over the system role's database."""

from __future__ import annotations

import contextlib
import functools
import getpass
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import click

from app.bootstrap.deliveries import build_sink
from app.bootstrap.stores import build_platform
from app.commands.exits import Exit
from app.commands.shell import Shell, table, tenant_command
from app.db.sinks import DeadEvent, Window
from app.domain.errors import Conflict, NotFound, Unavailable
from app.domain.events import EVENT_TYPES, PREFIX
from app.services import event_operations
from app.services.event_operations import Delivered
from app.services.relay import Sink
from app.settings import Settings, SettingsError, inherited_environment, load_settings

_COLUMNS = ("sink", "behind", "oldest", "held", "dead", "position", "moved_at", "configured")


def _at_the_shell(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give the command the settings; show what it raises as the documented exit codes."""

    @functools.wraps(command)
    def wrapped(shell: Shell, *args: Any, **kwargs: Any) -> None:
        try:
            command(shell, load_settings(inherited_environment()), *args, **kwargs)
        except SettingsError as wrong:
            shell.stop("; ".join(wrong.faults), Exit.USAGE)
        except NotFound as missing:
            shell.stop(str(missing), Exit.NOT_FOUND)
        except Conflict as clash:
            shell.stop(str(clash), Exit.CONFLICT)
        except Unavailable as away:
            shell.stop(str(away), Exit.UNAVAILABLE)

    return wrapped


@click.command()
@tenant_command
@_at_the_shell
def sinks(shell: Shell, settings: Settings) -> None:
    """How far each sink is: events behind, age of the oldest, shards held by a relay, dead letters."""
    found = event_operations.list_sinks(build_platform(settings))
    now = datetime.now(UTC)
    for row in found:
        row["oldest_s"] = round((now - row.pop("oldest")).total_seconds(), 1) if row["oldest"] else None
        row["moved_at"] = row["moved_at"].isoformat()
        row["configured"] = row["sink"] in (*settings.sinks.names, *event_operations.OWN_SINKS)
    columns = tuple("oldest_s" if name == "oldest" else name for name in _COLUMNS)
    shell.show(found, lambda: table(columns, ([str(row[name]) for name in columns] for row in found)))


@click.command("forget-sink")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@tenant_command
@_at_the_shell
def forget_sink(shell: Shell, settings: Settings, name: str, yes: bool) -> None:
    """Give the sink NAME up for good: pruning no longer waits for it. Not one that is still in use.

    Should it be configured again, it gets everything that the outbox holds then.
    """
    if not yes:
        click.confirm(f"Forget how far {name} is?", abort=True)
    gone = event_operations.forget_sink(build_platform(settings), name, settings.sinks.names, _who())
    shell.show({"sink": name, "cursors": gone}, lambda: f"{name} is forgotten.")


def _moment(_: click.Context, __: click.Parameter, given: str | None) -> datetime | None:
    if given is None:
        return None
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        raise click.BadParameter("write a moment as 2030-01-31T12:00:00+00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _types(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(PREFIX + name.removeprefix(PREFIX) for name in given)
    for name in found:
        if name not in EVENT_TYPES:
            raise click.BadParameter(f"there is no event type {name.removeprefix(PREFIX)}")
    return found


@click.command()
@click.option("--sink", "name", required=True, help="One of EVENT_SINKS.")
@click.option("--from", "since", callback=_moment, help="Events written at or after this moment (UTC).")
@click.option("--to", "until", callback=_moment, help="Events written before it.")
@click.option("--type", "types", multiple=True, callback=_types, help="Only this type; repeatable.")
@click.option("--subject", help="Only this subject, e.g. runs/<id>.")
@click.option("--tenant-id", "tenant", type=click.UUID, help="Only of this tenant.")
@click.option("--dry-run", is_flag=True, help="Count them, deliver nothing.")
@tenant_command
@_at_the_shell
def replay(shell: Shell, settings: Settings, name: str, dry_run: bool, **narrowed: Any) -> None:
    """Deliver past events to a sink once more, with the ids they had; what the outbox pruned is gone.

    They come in order per subject, between live events: a reader that drops what it has seen notices nothing.
    """
    wanted = Window(**narrowed)
    system = build_platform(settings)
    if dry_run:
        number = event_operations.count(system, wanted)
        shell.show({"sink": name, "events": number}, lambda: f"{number} events would go to {name}.")
        return
    with _sink(settings, name) as sink:
        _tell(shell, name, event_operations.replay(system, sink, wanted, _who(), time.sleep))


@click.group()
def dead() -> None:
    """See, replay or give up the events that a sink did not take."""


@dead.command("list")
@click.option("--sink", "name", help="Only of this sink.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@tenant_command
@_at_the_shell
def list_dead(shell: Shell, settings: Settings, name: str | None, limit: int) -> None:
    """The oldest first, with the reason."""
    found = [_shown(one) for one in event_operations.list_dead(build_platform(settings), name, limit)]
    columns = ("died_at", "sink", "id", "type", "subject", "attempts", "error")
    shell.show(found, lambda: table(columns, ([str(one[column]) for column in columns] for one in found)))


@dead.command("replay")
@click.option("--sink", "name", required=True, help="One of EVENT_SINKS.")
@click.option("--event", "ids", multiple=True, type=click.UUID, help="Only this event; repeatable.")
@tenant_command
@_at_the_shell
def replay_dead(shell: Shell, settings: Settings, name: str, ids: tuple[UUID, ...]) -> None:
    """Deliver dead letters once more, all of the sink's or those named; what is taken is dead no longer.

    They come behind later events of their subject: a gap marker with their sequence went out in their place.
    """
    with _sink(settings, name) as sink:
        system = build_platform(settings)
        _tell(shell, name, event_operations.replay_dead(system, sink, ids or None, _who(), time.sleep))


@dead.command("drop")
@click.option("--sink", "name", required=True, help="Whose dead letters; it need not be configured any more.")
@click.option("--event", "ids", multiple=True, type=click.UUID, help="Only this event; repeatable.")
@click.option("--all", "every", is_flag=True, help="All of the sink's.")
@click.option("--reason", required=True, help="Why; it stands in the audit trail.")
@tenant_command
@_at_the_shell
def drop_dead(
    shell: Shell, settings: Settings, name: str, ids: tuple[UUID, ...], every: bool, reason: str
) -> None:
    """Give dead letters up for good: the sink will not get these events, pruning no longer keeps them."""
    if bool(ids) == every:
        raise click.UsageError("give either --event, or --all")
    gone = event_operations.drop_dead(build_platform(settings), name, ids or None, _who(), reason)
    shell.show({"sink": name, "dropped": gone}, lambda: f"{gone} dead letters of {name} are given up.")


@contextlib.contextmanager
def _sink(settings: Settings, name: str) -> Iterator[Sink]:
    if name not in settings.sinks.names:
        raise NotFound(f"{name!r} is not among EVENT_SINKS: {', '.join(settings.sinks.names)}")
    with contextlib.closing(build_sink(settings, name)) as sink:
        yield sink


def _tell(shell: Shell, name: str, done: Delivered) -> None:
    refused = [{"id": str(one), "reason": reason} for one, reason in done.refused]
    document = {"sink": name, "events": done.events, "refused": refused}
    shell.show(document, lambda: f"{done.events} events went to {name}, {len(refused)} were refused.")
    if refused:
        raise SystemExit(Exit.FAILED)


def _shown(one: DeadEvent) -> dict[str, Any]:
    event = one.event
    return {
        "id": str(event.id),
        "sink": one.sink,
        "type": event.type.removeprefix(PREFIX),
        "tenant_id": str(event.tenant_id),
        "subject": event.subject,
        "sequence": event.sequence,
        "attempts": one.attempts,
        "error": one.error,
        "died_at": one.died_at.isoformat(),
    }


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return "unknown"
