"""Trace contexts as the W3C writes them, with what follows from identifiers alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import blake2b
from uuid import UUID

_FORM = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_RANDOM_BITS = 56
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A span somewhere: what is done for it hangs below it; `sampled` tells whether anybody records that."""

    trace_id: str
    span_id: str
    sampled: bool

    def traceparent(self) -> str:
        """Return the context as the header of this name carries it."""
        return f"00-{self.trace_id}-{self.span_id}-0{int(self.sampled)}"

    def at(self, span_id: str) -> TraceContext:
        """Return another span of the same trace."""
        return TraceContext(self.trace_id, span_id, self.sampled)


def parse_traceparent(text: str | None) -> TraceContext | None:
    """Return what a `traceparent` says; None for one that the W3C's rules tell to ignore."""
    found = _FORM.fullmatch(text) if text else None
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more) or not int(trace_id, 16) or not int(span_id, 16):
        return None
    return TraceContext(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def is_sampled(trace_id: str, ratio: float) -> bool:
    """Tell whether a trace that begins here is recorded: the same answer for the same id in every process.

    The last 56 bits decide, those that the W3C asks to be random.
    """
    return int(trace_id[-_RANDOM_BITS // 4 :], 16) < ratio * (1 << _RANDOM_BITS)


def run_span(run_id: UUID) -> str:
    """Return the span of a run, which every process can name before it ends."""
    return run_id.hex[16:]


def attempt_span(run_id: UUID, key: str, tries: int) -> str:
    """Return the span of one try of a step, which the next try links to."""
    return blake2b(f"{run_id}:{key}:{tries}".encode(), digest_size=8).hexdigest()


def delivery_span(event_id: UUID, sink: str) -> str:
    """Return the span of an event's delivery, the same when it is repeated."""
    return blake2b(f"{event_id}:{sink}".encode(), digest_size=8).hexdigest()


def begun_ms(run_id: UUID) -> int:
    """Return when a run was made, in milliseconds since 1970, as its UUIDv7 tells."""
    return run_id.int >> 80


def trace_of(trace: str | None, run_id: UUID) -> TraceContext | None:
    """Return the context of what a run does, from the `trace` of its row."""
    started = parse_traceparent(trace)
    return None if started is None else started.at(run_span(run_id))
