"""A schema as those see it who work on it: what a revision changed is the difference of two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg2.extensions import connection as Session


class Column(NamedTuple):
    """One column."""

    type: str
    required: bool
    default: str | None
    generated: bool


class Constraint(NamedTuple):
    """A check, a foreign, primary or unique key of a relation, or the check of a domain."""

    kind: str
    words: str
    valid: bool
    columns: tuple[str, ...]
    domain: bool


class Index(NamedTuple):
    """One index."""

    table: str
    words: str
    unique: bool
    columns: tuple[str, ...]


class Function(NamedTuple):
    """One function: what a call of it may look like, what it answers."""

    name: str
    arguments: int
    defaults: int
    result: str


@dataclass(frozen=True, slots=True)
class View:
    """Everything of the schema `public`, by name."""

    relations: dict[str, str]
    """The kind of each relation, with its row security."""
    storage: dict[str, int]
    """Where each relation's rows lie: another place when it was written anew."""
    columns: dict[tuple[str, str], Column]
    constraints: dict[tuple[str, str], Constraint]
    indexes: dict[str, Index]
    functions: dict[str, Function]
    triggers: dict[tuple[str, str], str]
    policies: dict[tuple[str, str], str]
    grants: frozenset[tuple[str, str, str]]


_RELATIONS = """
  SELECT relname, relkind::text || relrowsecurity || relforcerowsecurity, relfilenode::bigint FROM pg_class
  WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')"""
_COLUMNS = """
  SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
         pg_get_expr(d.adbin, d.adrelid), a.attgenerated <> '' OR a.attidentity <> ''
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
  WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')"""
_CONSTRAINTS = """
  SELECT coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text), conname, contype::text,
         pg_get_constraintdef(c.oid), convalidated, ARRAY(SELECT attname::text FROM pg_attribute
           WHERE attrelid = conrelid AND attnum = ANY (conkey)), contypid <> 0
  FROM pg_constraint c WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u', 'x')"""
_INDEXES = """
  SELECT c.relname, i.indrelid::regclass::text, pg_get_indexdef(c.oid), i.indisunique,
         ARRAY(SELECT attname::text FROM pg_attribute
           WHERE attrelid = i.indrelid AND attnum = ANY (i.indkey))
  FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE c.relnamespace = 'public'::regnamespace"""
_FUNCTIONS = """
  SELECT format('%s(%s)', proname, pg_get_function_identity_arguments(oid)), proname, pronargs,
         pronargdefaults, coalesce(pg_get_function_result(oid), '')
  FROM pg_proc WHERE pronamespace = 'public'::regnamespace"""
_TRIGGERS = """
  SELECT c.relname, t.tgname, pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
  WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace"""
_POLICIES = """
  SELECT tablename, policyname, format('%s %s %s %s %s', permissive, cmd, roles, qual, with_check)
  FROM pg_policies WHERE schemaname = 'public'"""
_GRANTS = """
  SELECT c.relname, g.grantee::regrole::text, g.privilege_type FROM pg_class c, aclexplode(c.relacl) g
  WHERE c.relnamespace = 'public'::regnamespace AND g.grantee <> c.relowner AND g.grantee <> 0
  UNION ALL
  SELECT c.relname || '.' || a.attname, g.grantee::regrole::text, g.privilege_type
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL, aclexplode(a.attacl) g
  WHERE c.relnamespace = 'public'::regnamespace AND g.grantee <> 0"""


def view(session: Session) -> View:
    """Return the schema as the session sees it, its own uncommitted changes included."""

    def rows(query: str) -> list[tuple[Any, ...]]:
        with session.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    relations = rows(_RELATIONS)
    return View(
        relations={name: kind for name, kind, _ in relations},
        storage={name: node for name, kind, node in relations if kind.startswith("r")},
        columns={(table, name): Column(*more) for table, name, *more in rows(_COLUMNS)},
        constraints={
            (owner, name): Constraint(kind, words, valid, tuple(columns), domain)
            for owner, name, kind, words, valid, columns, domain in rows(_CONSTRAINTS)
        },
        indexes={
            name: Index(table, words, unique, tuple(columns))
            for name, table, words, unique, columns in rows(_INDEXES)
        },
        functions={identity: Function(*more) for identity, *more in rows(_FUNCTIONS)},
        triggers={(table, name): words for table, name, words in rows(_TRIGGERS)},
        policies={(table, name): words for table, name, words in rows(_POLICIES)},
        grants=frozenset((name, role, privilege) for name, role, privilege in rows(_GRANTS)),
    )
