"""What a long work spent its time on, told as it goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Stages:
    """Times the stages of one work; `say` is told each when it ends, also when it fails."""

    def __init__(self, say: Callable[[str], object] = lambda line: None) -> None:  # noqa: ARG005 - nobody asked
        self._say = say
        self.spent: list[tuple[str, float]] = []

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done within the block."""
        began = time.monotonic()
        try:
            yield
        finally:
            seconds = time.monotonic() - began
            self.spent.append((name, seconds))
            self._say(f"{name}: {seconds:.1f} s")
