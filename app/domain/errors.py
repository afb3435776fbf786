"""The one tree of errors that services raise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of an input: the JSON pointer of its place, a stable code, a sentence for people."""

    pointer: str
    code: str
    message: str


class QuantumError(Exception):
    """Base of every error the platform raises on purpose; `code` is stable, `message` is for people."""

    default_code = "error"

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.message = message


class InvalidInput(QuantumError):
    """The caller's input is wrong; `faults` name each place."""

    default_code = "invalid_input"

    def __init__(self, faults: tuple[Fault, ...], message: str = "The input is not valid.") -> None:
        super().__init__(message)
        self.faults = faults

    @classmethod
    def at(cls, pointer: str, code: str, message: str) -> InvalidInput:
        """An error with a single fault."""
        return cls((Fault(pointer, code, message),))

    def __str__(self) -> str:
        places = "; ".join(f"{fault.pointer or '/'}: {fault.message}" for fault in self.faults)
        return f"{self.message} {places}".strip()


class NotFound(QuantumError):
    """No such thing, or none that this tenant may see."""

    default_code = "not_found"


class Conflict(QuantumError):
    """The request clashes with what is already there."""

    default_code = "conflict"


class CapReached(Conflict):
    """The tenant has as many things of a kind as it may keep: the code is `too_many_<kind>`."""

    def __init__(self, kind: str, most: int, in_use: int, wanted: int = 1) -> None:
        things = kind.replace("_", " ")
        more = f", {wanted} more are too many" if wanted > 1 else ""
        super().__init__(f"this tenant may keep {most} {things}; it has {in_use}{more}", f"too_many_{kind}")
        self.kind = kind
        self.most = most
        self.in_use = in_use


class IllegalState(Conflict):
    """The aggregate's state does not allow the transition."""

    default_code = "illegal_state"


class PreconditionFailed(QuantumError):
    """The version the caller saw is no longer the present one."""

    default_code = "precondition_failed"


class Forbidden(QuantumError):
    """The actor is known but may not do this."""

    default_code = "forbidden"


class Unauthenticated(QuantumError):
    """The actor is not known."""

    default_code = "unauthenticated"


class RateLimited(QuantumError):
    """Too many requests; try again after `retry_after_s` seconds."""

    default_code = "rate_limited"

    def __init__(self, message: str, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code)
        self.retry_after_s = retry_after_s


class TooLarge(QuantumError):
    """A payload is over its cap."""

    default_code = "too_large"


class Unavailable(QuantumError):
    """A part of the platform (`part`: postgresql, broker, ...) cannot be reached now."""

    default_code = "unavailable"

    def __init__(self, part: str, message: str | None = None) -> None:
        super().__init__(message or f"{part} is not available", "unavailable")
        self.part = part


class SwitchedOff(Unavailable):
    """An operator has switched a feature off; try again later."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature, f"{feature} is switched off by the platform's operators")
        self.code = "switched_off"


class OperationFailed(QuantumError):
    """An operation failed; `retryable`: another attempt may help, `detail` is shown to the tenant."""

    default_code = "operation_failed"

    def __init__(
        self,
        code: str,
        message: str,
        retryable: bool = True,
        detail: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code)
        self.retryable = retryable
        self.detail = detail or {}

    def as_error(self) -> dict[str, Any]:
        """The JSON object stored in a step's `error` column."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "retryable": self.retryable}
        return {**error, "detail": self.detail} if self.detail else error


class Deferred(OperationFailed):
    """Nothing was done, since what it needs is away: the step waits `retry_after_s`, without an attempt."""

    default_code = "deferred"

    def __init__(self, code: str, message: str, retry_after_s: float) -> None:
        super().__init__(code, message, detail={"deferred": True, "retry_after_s": round(retry_after_s, 1)})
