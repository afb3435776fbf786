"""Environment variables taken one by one, with every fault told at once."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

KEY_BYTES = 32


class Variables:
    """Takes variables one by one; a wrong one adds a fault instead of stopping at the first."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.faults: list[str] = []

    def fault(self, name: str, words: str) -> None:
        """Note what is wrong with a variable."""
        self.faults.append(f"{name} {words}")

    def text(self, name: str, default: str) -> str:
        """Return the text of a variable."""
        return self.environ.get(name) or default

    def one_of(self, name: str, choices: tuple[T, ...], default: T) -> T:
        """Return the choice that a variable names."""
        value = self.environ.get(name) or default
        for choice in choices:
            if value == choice:
                return choice
        self.fault(name, f"must be one of {', '.join(map(str, choices))}; it is {value!r}")
        return default

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number between two bounds, both included."""
        value = self.environ.get(name) or str(default)
        if value.isascii() and value.isdigit() and low <= int(value) <= high:
            return int(value)
        self.fault(name, f"must be a whole number from {low} to {high}; it is {value!r}")
        return default

    def fraction(self, name: str, default: float) -> float:
        """Return a number from 0 to 1, written as a decimal."""
        value = self.environ.get(name)
        if not value:
            return default
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if 0 <= number <= 1:
            return number
        self.fault(name, f"must be a number from 0 to 1; it is {value!r}")
        return default

    def flag(self, name: str, default: str = "0") -> bool:
        """Tell whether a variable says yes."""
        return self.one_of(name, ("0", "1", "false", "true"), default) in ("1", "true")

    def items(self, name: str, default: tuple[T, ...], convert: Callable[[str], T]) -> tuple[T, ...]:
        """Return the items of a list with commas, each converted; a ValueError of `convert` is a fault."""
        value = self.environ.get(name)
        if not value:
            return default
        try:
            return tuple(convert(item.strip()) for item in value.split(",") if item.strip())
        except ValueError as fault:
            self.fault(name, str(fault))
            return default

    def url(self, name: str, value: str, schemes: tuple[str, ...]) -> str:
        """Return `value` when it is a URL with one of `schemes` and a host; never repeat it in a fault."""
        if not value:
            self.fault(name, "must be set, as the other server URLs are")
            return ""
        parts = urlsplit(value)
        try:
            sound = (
                parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
            )
        except ValueError:
            sound = False  # the port is no number: told below, in the same words
        if not sound:
            self.fault(name, f"must be {schemes[0]}://user:password@host:port/…; it is not (value not shown)")
        return value if sound else ""

    def web_url(self, name: str, default: str) -> str:
        """Return a URL that clients are told: http or https with a host, without query or fragment."""
        value = self.environ.get(name) or default
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            self.fault(name, f"must be http(s)://host[:port][/path]; it is {value!r}")
        return value.rstrip("/")

    def endpoint(self, name: str) -> str:
        """Return an http or https URL, or an empty text when there is none."""
        value = self.environ.get(name, "")
        if value and (urlsplit(value).scheme not in ("http", "https") or not urlsplit(value).netloc):
            self.fault(name, "must be a URL that begins with http:// or https://")
        return value

    def key(self, name: str, default: Path, served: bool) -> bytes:
        """Return the 32 bytes of a key file: raw, or 64 hexadecimal digits."""
        keys = self.keys(name, default, served)
        if len(keys) > 1:
            self.fault(name, "must name a file of one key")
        return keys[0] if keys else b""

    def keys(self, name: str, default: Path, served: bool) -> tuple[bytes, ...]:
        """Return the keys of a file: 32 raw bytes, or lines of 64 hexadecimal digits, the newest first."""
        named = self.environ.get(name)
        if not named and served:
            self.fault(name, "must name a key file: no generated key is used outside development")
        if self.faults:
            return ()
        path = Path(named) if named else default
        if not named:
            _make_key(path)
        try:
            found = _keys(path.read_bytes())
        except (OSError, ValueError) as reason:
            self.fault(name, f"names a file that cannot be read as a key: {path} ({type(reason).__name__})")
            return ()
        if not found or any(len(key) != KEY_BYTES for key in found) or len(set(found)) < len(found):
            self.fault(
                name,
                f"must name a file of 32 bytes, or of lines of 64 hexadecimal digits, none twice: {path}",
            )
        return found


def _keys(content: bytes) -> tuple[bytes, ...]:
    if len(content) == KEY_BYTES:
        return (content,)
    return tuple(bytes.fromhex(line) for line in content.decode("ascii").splitlines() if line.strip())


def _make_key(path: Path) -> None:
    """Write a fresh key to `path` unless there is one; two processes that race end with the same key."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(secrets.token_hex(32) + "\n")
    try:
        path.hardlink_to(draft)
    except FileExistsError:
        pass  # the other process was first: its key is the one to use
    finally:
        draft.unlink()


def target_item(item: str) -> str:
    """Return a `host:port`; raises ValueError."""
    host, separator, port = item.rpartition(":")
    if not separator or not host or not port.isdigit():
        raise ValueError(f"must be host:port pairs separated by commas; {item!r} is not one")
    return item


def module_item(item: str) -> str:
    """Return a `package.file:attribute`; raises ValueError."""
    module, separator, attribute = item.partition(":")
    if not separator or not attribute.isidentifier() or not module.replace(".", "_").isidentifier():
        raise ValueError(f"must be package.file:attribute separated by commas; {item!r} is not one")
    return item


def folder_item(item: str) -> Path:
    """Return an absolute folder; raises ValueError."""
    path = Path(item)
    if not path.is_absolute():
        raise ValueError(f"must be absolute folders separated by commas; {item!r} is not one")
    return path


def queue_item(item: str) -> str:
    """Return the name of a queue; raises ValueError."""
    if not item.replace("_", "").replace("-", "").isalnum():
        raise ValueError(f"must be queue names separated by commas; {item!r} is not one")
    return item


def header_item(item: str) -> tuple[str, str]:
    """Return name and value of a header written `name=value`; raises ValueError, which never repeats it."""
    name, separator, value = item.partition("=")
    if not separator or not name.strip():
        raise ValueError("must be name=value pairs separated by commas; one is not (value not shown)")
    return name.strip(), value.strip()
