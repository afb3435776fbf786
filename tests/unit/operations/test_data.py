"""The operations of `data`: what is counted, what is refused, what is reported."""

from __future__ import annotations

import hashlib
import os

import pytest

from app.domain.errors import OperationFailed
from tasks.operations import data
from tests.support.operation_context import context


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    (root / "b/deep").mkdir(parents=True)
    (root / "skip").mkdir()
    for name, content in (
        ("a.txt", b"1\n2\n"),
        ("b/c.txt", b"no newline"),
        ("b/deep/d.py", b"\n"),
        ("skip/e", b""),
    ):
        (root / name).write_bytes(content)
    (tmp_path / "outside.txt").write_text("secret")
    (root / "link.txt").symlink_to(tmp_path / "outside.txt")
    (root / "linked").symlink_to(tmp_path)
    return root


def test_list_is_sorted_chunked_and_blind_to_links(tree):
    found = data.list_files(context(roots=(tree.parent,)), root=str(tree), chunk_size=3)
    assert found["files"] == 4
    assert found["chunks"] == [["a.txt", "b/c.txt", "b/deep/d.py"], ["skip/e"]]


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("*", ["a.txt"]),
        ("**/*.txt", ["a.txt", "b/c.txt"]),
        ("b/**", ["b/c.txt", "b/deep/d.py"]),
        ("b/**/d.p?", ["b/deep/d.py"]),
        ("*.TXT", []),
    ],
)
def test_patterns(tree, pattern, paths):
    found = data.list_files(context(roots=(tree,)), root=str(tree), pattern=pattern, exclude=["skip"])
    assert [path for chunk in found["chunks"] for path in chunk] == paths


@pytest.mark.parametrize(
    "root", ["{tree}/..", "{tree}/linked", "relative", "{tree}/a.txt", "/", "{tree}/none"]
)
def test_roots_outside_the_allowed_ones_are_refused(tree, root):
    with pytest.raises(OperationFailed) as failure:
        data.list_files(context(roots=(tree,)), root=root.format(tree=tree))
    assert (failure.value.code, failure.value.retryable) == ("root_refused", False)


def test_no_root_is_allowed_unless_named(tree):
    with pytest.raises(OperationFailed):
        data.digest(context(), root=str(tree), paths=["a.txt"])


@pytest.mark.parametrize("path", ["../outside.txt", "/etc/passwd", "b/../../outside.txt", "", "a\0"])
def test_paths_that_leave_the_root_are_refused(tree, path):
    with pytest.raises(OperationFailed) as failure:
        data.digest(context(roots=(tree,)), root=str(tree), paths=[path])
    assert failure.value.code == "path_refused"


def test_digest_equals_an_independent_count_and_reports_what_it_cannot_read(tree):
    os.mkfifo(tree / "pipe")
    paths = ["a.txt", "b/c.txt", "link.txt", "linked/outside.txt", "gone", "pipe"]
    found = data.digest(context(roots=(tree,)), root=str(tree), paths=paths)
    lines = "".join(
        f"{hashlib.sha256((tree / path).read_bytes()).hexdigest()}  {path}\n" for path in paths[:2]
    )
    assert (found["files"], found["bytes"], found["lines"]) == (2, 14, 2)
    assert found["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert found["largest"] == [{"path": "b/c.txt", "bytes": 10}, {"path": "a.txt", "bytes": 4}]
    assert [one["path"] for one in found["unreadable"]] == paths[2:]


def test_summarise_adds_up_and_passes_over_missing_parts(tree):
    here = context(roots=(tree,))
    parts = [data.digest(here, root=str(tree), paths=[path]) for path in ("a.txt", "b/c.txt")]
    total = data.summarise(here, parts=[*parts, None])
    assert (total["files"], total["bytes"], total["lines"], total["missing_parts"]) == (2, 14, 2, 1)
    assert [file["path"] for file in total["largest"]] == ["b/c.txt", "a.txt"]
    with pytest.raises(OperationFailed, match=r"not an output of data\.digest"):
        data.summarise(here, parts=[{"files": 1}])
