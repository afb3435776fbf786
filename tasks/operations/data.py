"""The built-in module `data`: inventories of files under the folders that the operator allowed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from app.domain.errors import OperationFailed
from app.domain.modules import Module, OperationContext

LARGEST = 10
MOST_FILES = 200_000
MOST_IN_CHUNK = 2_000
MOST_REPORTED = 100
PIECE = 1 << 18
COUNTS = {"files": {"type": "integer"}, "bytes": {"type": "integer"}, "lines": {"type": "integer"}}

module = Module("data", "1.0.0", "List, digest and summarise files under allowed folders")


@dataclass(frozen=True, slots=True)
class Digest:
    """What one file holds; `lines` counts its newline characters."""

    path: str
    bytes: int
    lines: int
    sha256: str


@module.operation(
    "list",
    input_schema={
        "type": "object",
        "properties": {
            "root": {"type": "string", "minLength": 1},
            "pattern": {"type": "string", "minLength": 1, "maxLength": 500},
            "chunk_size": {"type": "integer", "minimum": 1, "maximum": MOST_IN_CHUNK},
            "exclude": {"type": "array", "items": {"type": "string"}, "maxItems": 100},
        },
        "required": ["root"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "required": ["root", "files", "chunks"]},
    timeout_s=600,
)
def list_files(
    context: OperationContext,
    *,
    root: str,
    pattern: str = "**/*",
    chunk_size: int = 200,
    exclude: Sequence[str] = (),
) -> dict[str, Any]:
    """List the regular files below `root` whose relative path matches, sorted, in chunks of relative paths.

    In the pattern `**/` is any number of folders, `*` and `?` stay within a name. Folders named in `exclude`
    are not entered. Symbolic links are never followed, to files or to folders. Folders that cannot be read
    are reported in `unreadable`. Raises OperationFailed: `root_refused`, `bad_pattern`, `too_many_files`,
    `cancelled`.
    """
    folder = _allowed(context, root)
    matches = _matcher(pattern)
    paths: list[str] = []
    skipped: list[dict[str, str]] = []
    for path in _walk(context, folder, frozenset(exclude), skipped):
        if matches(path):
            paths.append(path)
            if len(paths) > MOST_FILES:
                raise OperationFailed(
                    "too_many_files", f"more than {MOST_FILES} files match", retryable=False
                )
    paths.sort()
    chunks = [paths[at : at + chunk_size] for at in range(0, len(paths), chunk_size)]
    return {"root": str(folder), "files": len(paths), "chunks": chunks, "unreadable": skipped[:MOST_REPORTED]}


@module.operation(
    "digest",
    input_schema={
        "type": "object",
        "properties": {
            "root": {"type": "string", "minLength": 1},
            "paths": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_IN_CHUNK},
        },
        "required": ["root", "paths"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "properties": COUNTS, "required": ["files", "bytes", "lines", "sha256"]},
    timeout_s=900,
)
def digest(context: OperationContext, *, root: str, paths: Sequence[str]) -> dict[str, Any]:
    """Read the files once; return their count, bytes, lines (newline characters) and the ten largest.

    `sha256` is the hash over the lines `<sha256 of the file>  <path>` in the order of `paths`, as sha256sum
    prints them. A file that vanished or may not be read is reported in `unreadable`. Raises OperationFailed:
    `root_refused`, `path_refused` for a path that leaves the root, `cancelled`.
    """
    folder = _allowed(context, root)
    digests: list[Digest] = []
    unreadable: list[dict[str, str]] = []
    for number, path in enumerate(paths):
        if context.cancelled():
            raise OperationFailed("cancelled", "cancelled while reading files", retryable=False)
        context.heartbeat(number / len(paths), f"{number} of {len(paths)} files")
        try:
            digests.append(_digest_file(folder, path))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            context.log.warning("file_unreadable", path=path, reason=reason)
            unreadable.append({"path": path, "reason": reason})
    whole = hashlib.sha256()
    for one in digests:
        whole.update(f"{one.sha256}  {one.path}\n".encode("utf-8", "surrogateescape"))
    return {
        "files": len(digests),
        "bytes": sum(one.bytes for one in digests),
        "lines": sum(one.lines for one in digests),
        "sha256": whole.hexdigest(),
        "largest": _largest([{"path": one.path, "bytes": one.bytes} for one in digests]),
        "unreadable": unreadable,
    }


@module.operation(
    "summarise",
    input_schema={
        "type": "object",
        "properties": {"parts": {"type": "array", "items": {"type": ["object", "null"]}}},
        "required": ["parts"],
        "additionalProperties": False,
    },
    output_schema={"type": "object", "properties": COUNTS, "required": ["files", "bytes", "lines", "sha256"]},
    timeout_s=300,
    cacheable_s=3600,
)
def summarise(
    context: OperationContext,  # noqa: ARG001 - the fixed signature
    *,
    parts: Sequence[Mapping[str, Any] | None],
) -> dict[str, Any]:
    """Add up outputs of `data.digest`; `sha256` is the hash over the parts' hashes, one a line, in order.

    A part that is null, of a step that failed and was passed over, counts in `missing_parts`. Raises
    OperationFailed (`bad_part`) for a part of another shape.
    """
    present = [part for part in parts if part is not None]
    try:
        return {
            "files": sum(part["files"] for part in present),
            "bytes": sum(part["bytes"] for part in present),
            "lines": sum(part["lines"] for part in present),
            "sha256": hashlib.sha256("".join(f"{part['sha256']}\n" for part in present).encode()).hexdigest(),
            "largest": _largest([file for part in present for file in part["largest"]]),
            "unreadable": sum(len(part["unreadable"]) for part in present),
            "missing_parts": len(parts) - len(present),
        }
    except (KeyError, TypeError) as error:
        raise OperationFailed(
            "bad_part", "a part is not an output of data.digest", retryable=False
        ) from error


def _largest(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(files, key=lambda file: (-file["bytes"], file["path"]))[:LARGEST]


def _allowed(context: OperationContext, root: str) -> Path:
    folder = Path(os.path.realpath(root)) if Path(root).is_absolute() else None
    roots = [Path(os.path.realpath(allowed)) for allowed in context.resources.data_roots]
    if folder is None or not any(folder.is_relative_to(allowed) for allowed in roots):
        raise OperationFailed(
            "root_refused",
            f"{root!r} is not below a folder that the operator allowed (QUANTUM_DATA_ROOTS)",
            retryable=False,
        )
    if not folder.is_dir():
        raise OperationFailed("root_refused", f"{root!r} is not a folder", retryable=False)
    return folder


def _walk(
    context: OperationContext, folder: Path, exclude: frozenset[str], skipped: list[dict[str, str]]
) -> Iterator[str]:
    def skip(error: OSError) -> None:
        skipped.append({"path": ascii(error.filename), "reason": error.strerror or type(error).__name__})

    for here, folders, names in os.walk(folder, followlinks=False, onerror=skip):
        if context.cancelled():
            raise OperationFailed("cancelled", "cancelled while listing files", retryable=False)
        folders[:] = sorted(set(folders) - exclude)
        for name in names:
            full = Path(here, name)
            relative = full.relative_to(folder).as_posix()
            try:
                regular = stat.S_ISREG(full.lstat().st_mode)
            except OSError as error:
                skip(error)
                continue
            if regular and not relative.isprintable():
                # Not UTF-8, or with a control character: it could not travel as JSON and come back the same.
                skipped.append({"path": ascii(relative), "reason": "the name is not printable text"})
            elif regular:
                yield relative


def _matcher(pattern: str) -> Callable[[str], object]:
    parts = PurePosixPath(pattern).parts
    if not parts or pattern.startswith("/") or ".." in parts:
        raise OperationFailed("bad_pattern", "the pattern must be relative, without '..'", retryable=False)
    text = ""
    for part in parts[:-1]:
        text += "(?:[^/]+/)*" if part == "**" else _segment(part) + "/"
    text += "(?:[^/]+/)*[^/]+" if parts[-1] == "**" else _segment(parts[-1])
    return re.compile(text).fullmatch


def _segment(part: str) -> str:
    wild = {"*": "[^/]*", "?": "[^/]"}
    return "".join(wild.get(character) or re.escape(character) for character in part)


@contextmanager
def _opened(folder: Path, path: str) -> Iterator[int]:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise OperationFailed("path_refused", f"path {path!r} leaves the root", retryable=False)
    # Each part is opened relative to the one before and no link is followed, so no swap in between leads out.
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=held)
            os.close(held)
            held = inner
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=held)
    finally:
        os.close(held)
    try:
        yield file
    finally:
        os.close(file)


def _digest_file(folder: Path, path: str) -> Digest:
    with _opened(folder, path) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(None, "not a regular file")
        content = hashlib.sha256()
        size = lines = 0
        while piece := os.read(file, PIECE):
            content.update(piece)
            size += len(piece)
            lines += piece.count(b"\n")
    return Digest(path, size, lines, content.hexdigest())
