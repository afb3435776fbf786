"""Comparison of the committed schema with what the migrations make: `python -m checks.schema [--write]`."""

from __future__ import annotations

import difflib
import sys
from contextlib import closing
from pathlib import Path

import psycopg2

COMMITTED = Path(__file__).resolve().parents[1] / "migrations" / "schema.txt"

# Everything that decides behaviour, in words that PostgreSQL 15 and later print alike.
SECTIONS: tuple[tuple[str, str], ...] = (
    (
        "columns",
        """SELECT format('%s.%s %s%s%s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
             CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
             coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), ''))
           FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
           LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
           WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')""",
    ),
    (
        "constraints",
        """SELECT format('%s %s %s', coalesce(nullif(conrelid, 0)::regclass::text, contypid::regtype::text),
             conname, pg_get_constraintdef(oid))
           FROM pg_constraint
           WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'p', 'u')""",
    ),
    ("indexes", "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'"),
    (
        "relations",
        """SELECT format('%s kind %s owner %s row security %s forced %s options %s', relname, relkind,
             relowner::regrole, relrowsecurity, relforcerowsecurity, coalesce(reloptions::text, '-'))
           FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S')""",
    ),
    (
        "policies",
        """SELECT format('%s %s %s to %s using %s check %s', tablename, policyname, cmd, roles, qual,
             with_check) FROM pg_policies WHERE schemaname = 'public'""",
    ),
    (
        "triggers",
        """SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
           WHERE NOT t.tgisinternal AND c.relnamespace = 'public'::regnamespace""",
    ),
    (
        "functions",
        """SELECT format('%s(%s) returns %s md5 %s definer %s config %s', proname,
             pg_get_function_identity_arguments(oid), pg_get_function_result(oid), md5(prosrc), prosecdef,
             coalesce(proconfig::text, '-')) FROM pg_proc WHERE pronamespace = 'public'::regnamespace""",
    ),
    (
        "grants",
        # From the catalogue itself: the views of information_schema take seconds to join.
        """SELECT format('%s to %s: %s', object, grantee, string_agg(privilege, ', ' ORDER BY privilege))
           FROM (
             SELECT c.relname::text, g.grantee::regrole::text, g.privilege_type
             FROM pg_class c, aclexplode(c.relacl) g
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v')
             UNION ALL
             SELECT c.relname || '.' || a.attname, g.grantee::regrole::text, g.privilege_type
             FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) g
             WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND NOT EXISTS (
               SELECT FROM aclexplode(c.relacl) t
               WHERE t.grantee = g.grantee AND t.privilege_type = g.privilege_type)
           ) g (object, grantee, privilege)
           WHERE grantee IN ('quantum_app', 'quantum_system') GROUP BY object, grantee""",
    ),
)


def catalogue(owner_url: str) -> str:
    """The schema of a database as sorted lines, section by section."""
    parts = []
    with closing(psycopg2.connect(owner_url)) as connection, connection.cursor() as cursor:
        for name, query in SECTIONS:
            cursor.execute(query)
            lines = sorted(" ".join(row[0].split()) for row in cursor.fetchall())
            parts.append("\n".join([f"[{name}]", *lines, ""]))
    return "\n".join(parts)


def migrated_catalogue() -> str:
    """The schema of a database that was migrated from nothing just now."""
    from app.db.migrate import migrate  # noqa: PLC0415 - importers of `catalogue` need no migration
    from tests.support.database import empty_database  # noqa: PLC0415 - as above
    from tests.support.servers import postgres_cluster  # noqa: PLC0415 - as above

    with postgres_cluster() as cluster, empty_database(cluster) as urls:
        migrate(urls.owner)
        return catalogue(urls.owner)


def main(arguments: list[str]) -> int:
    """Compare, or write; the exit code is 1 when they differ."""
    made = migrated_catalogue()
    if "--write" in arguments:
        COMMITTED.write_text(made, encoding="utf-8")
        return 0
    committed = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else ""
    difference = list(
        difflib.unified_diff(committed.splitlines(), made.splitlines(), "committed", "migrated", n=0)
    )
    for line in difference:
        sys.stderr.write(line + "\n")
    if difference:
        sys.stderr.write("the schema is not the sum of the migrations: python -m checks.schema --write\n")
    return 1 if difference else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
