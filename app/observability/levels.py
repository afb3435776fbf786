"""The levels of this process's loggers, changed while it runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

_started: dict[str, int] = {}
"""What each logger that was changed had before."""


def apply_levels(levels: Mapping[str, str]) -> bool:
    """Let these loggers have these levels, all others what they were started with; tell whether any changed.

    `root` is the logger above all: a logger without a level of its own has the next one's above it.
    """
    before = {name: logging.getLogger(name).level for name in {*levels, *_started}}
    for name in _started.keys() - levels.keys():
        logging.getLogger(name).setLevel(_started.pop(name))
    for name, level in levels.items():
        _started.setdefault(name, logging.getLogger(name).level)
        logging.getLogger(name).setLevel(level)
    return any(logging.getLogger(name).level != level for name, level in before.items())
