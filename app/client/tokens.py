"""What the CLI keeps between two commands: the access token, the token of the last write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Token:
    """What a sign-in left behind: where it counts, for whom, both tokens."""

    url: str
    tenant: str
    email: str
    access_token: str
    refresh_token: str


def save_token(path: Path, token: Token) -> None:
    """Write the token with mode 0600, replacing an older one atomically."""
    _save(path, asdict(token))


def load_token(path: Path) -> Token | None:
    """The saved token, or None when there is none or it is not readable as one."""
    try:
        return Token(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        # A damaged file means the same as no file: sign in again.
        return None


def forget_token(path: Path) -> None:
    """Remove what a sign-in left behind."""
    for each in (path, _beside(path), _lock(path)):
        each.unlink(missing_ok=True)


@contextlib.contextmanager
def renewing(path: Path) -> Iterator[None]:
    """Let one command at a time renew the token: whoever comes second finds it renewed.

    A refresh token counts once; two that exchange the same one end the session for both.
    """
    handle = os.open(_lock(path), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def save_written(path: Path, url: str, written: str) -> None:
    """Keep beside the access token what the API at `url` answered the last write with, if possible."""
    # The write is done: a folder that takes no file is no reason to say otherwise.
    with contextlib.suppress(OSError):
        _save(_beside(path), {"url": url, "written": written})


def load_written(path: Path, url: str) -> str | None:
    """What `save_written` kept for `url`, or None."""
    try:
        kept = json.loads(_beside(path).read_text(encoding="utf-8"))
        return str(kept["written"]) if kept["url"] == url else None
    except (OSError, ValueError, TypeError, KeyError):
        # Without it the next read may be some seconds old: no reason to stop.
        return None


def _beside(path: Path) -> Path:
    return path.with_suffix(".written")


def _lock(path: Path) -> Path:
    return path.with_suffix(".lock")


def _save(path: Path, content: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file)
    draft.replace(path)
