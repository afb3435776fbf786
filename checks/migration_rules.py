"""What a revision must not do to those who work on the schema meanwhile: each rule names what it saw."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from app.domain.upgrades import EXPAND
from checks.schema_view import Column, Function, View


class Statement(NamedTuple):
    """A statement that a revision executed; `alone`: in a commit of its own."""

    words: str
    alone: bool = False


Done = Sequence[Statement]
Rule = Callable[[View, View, Done], Iterator[str]]

_BODY = re.compile(r"\$(\w*)\$.*?\$\1\$", re.DOTALL)
_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_STOPS = re.compile(
    r"(LOCK|TRUNCATE|CLUSTER|VACUUM\s+FULL|REINDEX(?!.*CONCURRENTLY))\b", re.IGNORECASE | re.DOTALL
)
_CHANGES = re.compile(r"(?:UPDATE(?:\s+ONLY)?|DELETE\s+FROM(?:\s+ONLY)?)\s+(?:public\.)?(\w+)", re.IGNORECASE)
_NAMED = r"\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?(?:public\.)?(\w+)"
_BUILT = re.compile(rf"CREATE\s+(?:UNIQUE\s+)?INDEX\s+CONCURRENTLY{_NAMED}", re.IGNORECASE)
_DROPPED = re.compile(rf"DROP\s+INDEX\s+CONCURRENTLY{_NAMED}", re.IGNORECASE)


def judge(before: View, after: View, done: Done, phase: str) -> Iterator[str]:
    """Yield what the revision must not do: no phase locks people out, an expand breaks no old ones."""
    for rule in (*LOCKS, *(BREAKS if phase == EXPAND else ())):
        yield from rule(before, after, done)


def statements(done: Done) -> Iterator[Statement]:
    """Yield each statement at the top level: what stands in the bodies of functions runs another time."""
    for each in done:
        bare = _BODY.sub("''", _COMMENT.sub("", each.words))
        yield from (Statement(part.strip(), each.alone) for part in bare.split(";") if part.strip())


# -- locks: in either phase ----------------------------------------------------------------------


def rewrites(before: View, after: View, _done: Done) -> Iterator[str]:
    """A table written anew is closed to everybody until that has ended."""
    for name, place in before.storage.items():
        if after.storage.get(name, place) != place:
            yield f"writes the table {name} anew, closed to everybody: a new column, filled in batches"


def index_builds(before: View, after: View, done: Done) -> Iterator[str]:
    """An index that is not built concurrently keeps writers out."""
    beside = {name for each in done for name in _BUILT.findall(each.words)}
    for name, index in after.indexes.items():
        if name not in before.indexes and index.table in before.relations and name not in beside:
            yield f"builds the index {name} while nobody can write {index.table}: index_concurrently()"


def index_drops(before: View, after: View, done: Done) -> Iterator[str]:
    """An index that is not dropped concurrently keeps everybody out; one goes with its column."""
    beside = {name for each in done for name in _DROPPED.findall(each.words)}
    for name, index in before.indexes.items():
        stays = all((index.table, column) in after.columns for column in index.columns)
        if name not in after.indexes and stays and name not in beside:
            yield f"drops the index {name} while nobody can read {index.table}: drop_index_concurrently()"


def validations(before: View, after: View, _done: Done) -> Iterator[str]:
    """A constraint that is added valid reads its whole table under a lock."""
    for (owner, name), found in after.constraints.items():
        fresh = (owner, name) not in before.constraints and found.kind in "cf"
        if fresh and found.valid and _was_there(before, owner):
            yield f"adds {name} of {owner} valid, reading all rows under a lock: NOT VALID, later VALIDATE"


def required_columns(before: View, after: View, _done: Done) -> Iterator[str]:
    """NOT NULL reads the whole table under a lock, unless a valid check says the same already."""
    proved = {
        (owner, column)
        for (owner, _), found in before.constraints.items()
        for column in found.columns
        if found.valid and found.words == f"CHECK (({column} IS NOT NULL))"
    }
    for place, column in _same_columns(before, after):
        if after.columns[place].required and not column.required and place not in proved:
            yield f"makes {'.'.join(place)} NOT NULL, reading all rows under a lock: a valid CHECK first"


def closures(_before: View, _after: View, done: Done) -> Iterator[str]:
    """Some statements close a table for as long as they take."""
    for each in statements(done):
        if found := _STOPS.match(each.words):
            yield f"{found[1].upper()} closes what it works on to everybody"


def changed_rows(before: View, _after: View, done: Done) -> Iterator[str]:
    """Rows changed in the transaction of a revision stay locked to its end."""
    for each in statements(done):
        found = _CHANGES.match(each.words)
        ours = found is not None and found[1] in before.relations and found[1] != "alembic_version"
        if found and ours and not each.alone:
            yield f"changes rows of {found[1]} that stay locked until the revision has ended: in_batches()"


# -- breaks: what the release before still uses --------------------------------------------------


def lost_relations(before: View, after: View, _done: Done) -> Iterator[str]:
    """A relation is gone, renamed, or another kind of thing."""
    for name, kind in before.relations.items():
        if after.relations.get(name) != kind:
            yield f"the relation {name} is gone, or of another kind or row security"


def lost_columns(before: View, after: View, _done: Done) -> Iterator[str]:
    """A column is gone, renamed, or means something else."""
    for place, column in before.columns.items():
        name, now = ".".join(place), after.columns.get(place)
        if now is None and place[0] in after.relations:
            yield f"the column {name} is gone: old processes read it"
        elif now is not None and now.type != column.type:
            yield f"the column {name} is of another type: a new column beside it"
        elif now is not None and column.default is not None and now.default is None and not now.generated:
            yield f"the column {name} has lost its default: old processes leave it out"


def demands(before: View, after: View, _done: Done) -> Iterator[str]:
    """A column that must be filled is not filled by those who do not know it."""
    for place, column in after.columns.items():
        there = before.columns.get(place)
        if place[0] not in before.relations or not column.required:
            continue
        if there is None and column.default is None and not column.generated:
            yield f"the new column {'.'.join(place)} is NOT NULL without default: old processes leave it out"
        elif there is not None and not there.required:
            yield f"the column {'.'.join(place)} becomes NOT NULL: old processes may leave it empty"


def lost_functions(before: View, after: View, _done: Done) -> Iterator[str]:
    """A function is gone, has other arguments, answers something else, or its calls could mean another."""
    for identity, function in before.functions.items():
        now = after.functions.get(identity)
        if now is None:
            yield f"the function {identity} is gone, or has other arguments: one of another name beside it"
        elif now.result != function.result:
            yield f"the function {identity} answers {now.result}: one of another name beside it"
        for other, new in after.functions.items():
            if other not in before.functions and now is not None and _ambiguous(function, new):
                yield f"a call of {identity} could mean {other} as well: another name"


def lost_rights(before: View, after: View, _done: Done) -> Iterator[str]:
    """A trigger, a policy, a grant is gone or changed."""
    for what, olds, news in (
        ("trigger", before.triggers, after.triggers),
        ("policy", before.policies, after.policies),
    ):
        for (table, name), words in olds.items():
            if news.get((table, name)) != words and table in after.relations:
                yield f"the {what} {name} of {table} is gone, or another: old processes rely on it"
    for name, role, privilege in sorted(before.grants - after.grants):
        if name.partition(".")[0] in after.relations:
            yield f"{role} has lost {privilege} on {name}"


def lost_indexes(before: View, after: View, _done: Done) -> Iterator[str]:
    """An index is gone that old statements are quick by."""
    for name, index in before.indexes.items():
        if name not in after.indexes and index.table in after.relations:
            yield f"the index {name} is gone: old processes are quick by it"


def new_bounds(before: View, after: View, _done: Done) -> Iterator[str]:
    """A constraint or a unique index over old columns refuses what old processes may write."""
    for name, index in after.indexes.items():
        if index.unique and name not in before.indexes and _old_columns(before, index.table, index.columns):
            yield f"the unique index {name} refuses what old processes may write to {index.table}"
    for (owner, name), found in after.constraints.items():
        if (owner, name) in before.constraints or found.kind not in "cfx":
            continue
        widened = any(key[0] == owner and key not in after.constraints for key in before.constraints)
        bound = not widened if found.domain else _old_columns(before, owner, found.columns)
        if bound and _was_there(before, owner):
            yield f"the constraint {name} refuses what old processes may write to {owner}"


def _was_there(before: View, owner: str) -> bool:
    """Tell whether the relation, or the domain, is older than the revision."""
    return owner in before.relations or any(column.type == owner for column in before.columns.values())


def _old_columns(before: View, table: str, columns: Sequence[str]) -> bool:
    return table in before.relations and all((table, column) in before.columns for column in columns)


def _same_columns(before: View, after: View) -> Iterator[tuple[tuple[str, str], Column]]:
    return ((place, column) for place, column in before.columns.items() if place in after.columns)


def _ambiguous(old: Function, new: Function) -> bool:
    """Tell whether some number of arguments fits both: the types of literals decide nothing."""
    apart = new.arguments - new.defaults > old.arguments or old.arguments - old.defaults > new.arguments
    return old.name == new.name and not apart


LOCKS: tuple[Rule, ...] = (
    rewrites,
    index_builds,
    index_drops,
    validations,
    required_columns,
    closures,
    changed_rows,
)
BREAKS: tuple[Rule, ...] = (
    lost_relations,
    lost_columns,
    demands,
    lost_functions,
    lost_rights,
    lost_indexes,
    new_bounds,
)
