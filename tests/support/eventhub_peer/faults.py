"""What the peer does wrong when it is told to, by lines on its standard input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Faults:
    """How many of the next transfers meet which fault."""

    reject: int = 0
    condition: str = "com.microsoft:server-busy"
    matching: bytes = b""
    """Transfers that hold these bytes are rejected with `amqp:not-allowed`, as long as they are set."""
    cut: int = 0
    """The connection ends before anything is stored."""
    noack: int = 0
    """Stored, then the connection ends without an answer."""
    swallow: int = 0
    """Accepted but not stored: what a test must notice."""
    detach: int = 0
    mute: int = 0
    """Readers get nothing, and are not told why, as long as it is set."""
    stall_s: float = 0.0
    """The next transfer waits so long."""

    def order(self, line: str) -> None:
        """Follow one line: `reject 3 condition`, `matching text`, `cut 1`, `noack 1`, `stall 0.5`, …."""
        name, _, rest = line.strip().partition(" ")
        words = rest.split()
        if name == "reject":
            self.reject, self.condition = int(words[0]), words[1] if len(words) > 1 else self.condition
        elif name == "matching":
            self.matching = rest.encode()
        elif name == "stall":
            self.stall_s = float(words[0])
        elif name in ("cut", "noack", "detach", "swallow", "mute"):
            setattr(self, name, int(words[0]))
        else:
            raise ValueError(f"no fault is called {name!r}")

    def meets(self, name: str) -> bool:
        """Whether the next transfer meets the fault of that name; counts it."""
        left = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return bool(left)
