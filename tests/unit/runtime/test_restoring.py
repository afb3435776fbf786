"""A script of pg_restore loses what an older server refuses, nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.runtime import binaries
from app.runtime.restoring import fitted

KNOWN = {"statement_timeout", "default_tablespace"}
HEAD = [
    b"--\n",
    b"\n",
    b"\\restrict abc\n",
    b"SET statement_timeout = 0;\n",
    b"SET transaction_timeout = 0;\n",
    b"SELECT pg_catalog.set_config('search_path', '', false);\n",
    b"SET made_in_2031 = 'on';\n",
]
FUNCTION = [
    b"CREATE FUNCTION public.f() RETURNS void LANGUAGE sql AS $$\n",
    b"UPDATE t\n",
    b"SET state = 'x';\n",
    b"$$;\n",
]
ROWS = [
    b"COPY public.t (a) FROM stdin;\n",
    b"SET transaction_timeout = 0;\n",
    b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=1);\n",
    b"COPY public.t (a) FROM stdin;\n",
    b"\\.\n",
]
ALTER = b"ALTER TABLE ONLY public.t ALTER COLUMN a SET (%s);\n"


def test_settings_that_the_server_does_not_know_are_left_out_at_the_head_only() -> None:
    script = [*HEAD, *FUNCTION, *ROWS, b"SET default_tablespace = '';\n"]
    kept = list(fitted(script, KNOWN))
    assert kept == [HEAD[0], HEAD[1], HEAD[2], HEAD[3], HEAD[5], *FUNCTION, *ROWS, script[-1]]


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (b"pg_attver=26877376", None),
        (b"n_distinct=5, pg_attver=1", b"n_distinct=5"),
        (b"pg_attver=1, n_distinct=5", b"n_distinct=5"),
        (b"n_distinct=5", b"n_distinct=5"),
    ],
)
def test_what_a_server_keeps_among_the_options_of_a_column_is_left_out(
    options: bytes, left: bytes | None
) -> None:
    kept = list(fitted([ALTER % options, *ROWS, ALTER % options], KNOWN))
    expected = [] if left is None else [ALTER % left]
    assert kept == [*expected, *ROWS, *expected], "rows are nobody's options"


def test_programs_of_a_version_are_ours_or_those_of_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for major in (15, 18):
        folder = tmp_path / str(major) / "bin"
        folder.mkdir(parents=True)
        program = folder / "postgres"
        program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {major}.20 (Debian)'\n")
        program.chmod(0o755)
    monkeypatch.setattr(binaries, "PACKAGED", (str(tmp_path / "{}" / "bin"),))
    ours = tmp_path / "18" / "bin"
    found = [binaries.programs_of(major, ours) for major in (18, 15, 16)]
    assert found == [ours, tmp_path / "15" / "bin", None]
