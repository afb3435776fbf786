"""The demo's claims: each is checked, printed, counted; chapters are timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence about the platform, whether it was so."""

    chapter: str
    text: str
    true: bool


class Report:
    """Collects claims by chapter; the demo succeeds when every claim is true and no chapter broke off."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.claims: list[Claim] = []
        self.seconds: dict[str, float] = {}
        self.broken: list[str] = []
        self._clock = clock
        self._chapter = ""

    @contextmanager
    def chapter(self, title: str) -> Iterator[None]:
        """Time what is inside; an exception there breaks the chapter off, is told, then passed on."""
        self._chapter = title
        self.console.print(f"\n[bold]{len(self.seconds) + 1}. {escape(title)}[/bold]")
        began = self._clock()
        try:
            yield
        except BaseException:
            self.broken.append(title)
            raise
        finally:
            self.seconds[title] = self._clock() - began

    def claim(self, text: str, true: object) -> bool:
        """State a fact with its check; a false one is printed as such, counted, not raised."""
        held = bool(true)
        self.claims.append(Claim(self._chapter, text, held))
        mark = "[green]✔[/green]" if held else "[bold red]✘ NOT SO:[/bold red]"
        self.console.print(f"   {mark} {escape(text)}")
        return held

    def say(self, text: str) -> None:
        """Tell what happens, without a claim."""
        self.console.print(f"   [dim]{escape(text)}[/dim]")

    @property
    def false_claims(self) -> tuple[Claim, ...]:
        """The claims that were not so."""
        return tuple(claim for claim in self.claims if not claim.true)

    @property
    def exit_code(self) -> int:
        """0 when something was claimed, all of it true, no chapter broken; else 1."""
        return 0 if self.claims and not self.false_claims and not self.broken else 1

    def close(self) -> None:
        """Print the time of each chapter, then the verdict."""
        self.console.print()
        for title, seconds in self.seconds.items():
            self.console.print(f"   {seconds:6.1f} s  {escape(title)}")
        self.console.print(f"   {sum(self.seconds.values()):6.1f} s  in all")
        good = len(self.claims) - len(self.false_claims)
        colour = "green" if self.exit_code == 0 else "red"
        self.console.print(f"\n[bold {colour}]{good} of {len(self.claims)} claims held.[/bold {colour}]")
        for title in self.broken:
            self.console.print(f"[red]Broken off: {escape(title)}[/red]")
        for claim in self.false_claims:
            self.console.print(f"[red]Not so: {escape(claim.text)} ({escape(claim.chapter)})[/red]")
