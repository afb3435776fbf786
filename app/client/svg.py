"""Self-contained SVG: escaped text, one style for light or dark, words for those who do not see it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

CHARACTER: Final = 7.3
"""Width of a character of the label's font, in the picture's units."""
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
MARKS: Final = {
    "succeeded": "✔",
    "failed": "✘",
    "running": "▶",
    "waiting": "…",
    "ready": "•",
    "skipped": "↷",
    "cancelled": "∅",
    "compensating": "↶",
    "compensated": "↶",
}
_COLOURS: Final = {
    "succeeded": ("#1a7f37", "#3fb950"),
    "failed": ("#cf222e", "#f85149"),
    "running": ("#0969da", "#58a6ff"),
    "waiting": ("#9a6700", "#d29922"),
    "ready": ("#0969da", "#58a6ff"),
    "compensating": ("#8250df", "#bc8cff"),
    "compensated": ("#8250df", "#bc8cff"),
}
_QUIET: Final = ("#6e7781", "#8b949e")
STATES: Final = (*_COLOURS, "pending", "skipped", "cancelled")


def element(name: str, attributes: Mapping[str, object], *inner: str) -> str:
    """Return an element; attributes are escaped, `inner` is markup that was made by this module."""
    given = "".join(f' {key}="{clean(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name}{given}>{''.join(inner)}</{name}>" if inner else f"<{name}{given}/>"


def text(x: float, y: float, words: str, style: str = "q-ink", **more: object) -> str:
    """Return a line of text that begins at the point, or as `anchor` says."""
    anchor = more.get("anchor")
    return element("text", {"x": num(x), "y": num(y), "class": style, "text-anchor": anchor}, clean(words))


def title(words: str) -> str:
    """Return what a pointer that rests here is told, or a reader of the screen."""
    return element("title", {}, clean(words))


def clean(value: object) -> str:
    """Return a value as text that is safe between tags or quotes; what XML cannot hold becomes U+FFFD."""
    return escape(_UNPRINTABLE.sub("\ufffd", str(value)), quote=True)


def num(value: float) -> str:
    """Return a coordinate, short."""
    return f"{value:.1f}".removesuffix(".0")


def cut(words: str, width: float) -> str:
    """Return the words as far as they fit into the width."""
    most = max(1, int(width / CHARACTER))
    return words if len(words) <= most else words[: most - 1] + "…"


def known(state: str) -> str:
    """Return the state, or `pending` for one that has no style."""
    return state if state in STATES else "pending"


def colour(state: str) -> str:
    """Return the colour of a state on light paper."""
    return _COLOURS.get(state, _QUIET)[0]


def picture(width: float, height: float, name: str, description: str, parts: Iterable[str]) -> str:
    """Return the whole document."""
    head = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": f"0 0 {num(width)} {num(height)}",
        "width": num(width),
        "height": num(height),
        "role": "img",
        "aria-labelledby": "q-title q-desc",
        "font-family": "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace",
        "font-size": "12",
    }
    inner = [
        element("title", {"id": "q-title"}, clean(name)),
        element("desc", {"id": "q-desc"}, clean(description)),
        f"<style>{_style()}</style>",
        element("rect", {"class": "q-paper", "width": "100%", "height": "100%"}),
        *parts,
    ]
    return element("svg", head, "\n" + "\n".join(inner) + "\n") + "\n"


def _style() -> str:
    light = _palette(0, "#ffffff", "#1f2328", "#59636e", "#d1d9e0")
    dark = _palette(1, "#0d1117", "#e6edf3", "#9198a1", "#3d444d")
    shapes = (
        ".q-box{stroke-width:1;fill-opacity:.12}.q-edge{fill:none;stroke-width:1.2}"
        ".q-critical{stroke-width:2.6}.q-strong{font-weight:600}.q-small{font-size:11px}"
        ".q-dashed{stroke-dasharray:4 3}.q-bar{fill-opacity:.75}"
    )
    return f"{shapes}{light}@media (prefers-color-scheme:dark){{{dark}}}"


def _palette(which: int, paper: str, ink: str, faint: str, line: str) -> str:
    states = "".join(
        f".q-{state}{{stroke:{_COLOURS.get(state, _QUIET)[which]};fill:{_COLOURS.get(state, _QUIET)[which]}}}"
        for state in STATES
    )
    return (
        f".q-paper{{fill:{paper}}}.q-ink{{fill:{ink}}}.q-faint{{fill:{faint}}}"
        f".q-line{{stroke:{line};fill:none}}.q-edge{{stroke:{faint}}}.q-edge.q-critical{{stroke:{ink}}}"
        f".q-tip{{fill:{faint}}}{states}"
    )
