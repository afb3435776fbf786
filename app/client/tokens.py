"""The operator's access token, kept in a file that only its owner can read."""

from __future__ import annotations

import json
import os
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
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(asdict(token), file)
    draft.replace(path)


def load_token(path: Path) -> Token | None:
    """The saved token, or None when there is none or it is not readable as one."""
    try:
        return Token(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        # A damaged file means the same as no file: sign in again.
        return None
