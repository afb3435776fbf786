"""Path parameters with the form of our names, so that another text is simply not found."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from werkzeug.routing import BaseConverter


class StepKey(BaseConverter):
    """The key of a step: its base, then the item's number; before both `undo-` for its compensation."""

    regex = r"(?:undo-)?[a-z][a-z0-9_]{0,62}(?:\.[0-9]{1,6})?"
    part_isolating = True


class Dotted(BaseConverter):
    """Names joined by dots."""

    regex = r"[a-z][a-z0-9_-]{0,62}(?:\.[a-z0-9][a-z0-9_-]{0,62}){0,3}"
    part_isolating = True


class SecretName(BaseConverter):
    """The name of a secret."""

    regex = r"[A-Za-z][A-Za-z0-9_]{0,62}"
    part_isolating = True


class SignalName(BaseConverter):
    """The name of a signal."""

    regex = r"[a-z][a-z0-9_-]{0,62}"
    part_isolating = True


class PoolName(BaseConverter):
    """The name of a pool."""

    regex = r"[a-z][a-z0-9_-]{0,62}"
    part_isolating = True


class Sha256(BaseConverter):
    """The hash of an artifact."""

    regex = r"[0-9a-f]{64}"
    part_isolating = True


class KeyId(BaseConverter):
    """The name of a key-encryption key."""

    regex = r"[0-9a-f]{16}"
    part_isolating = True


class WorkerName(BaseConverter):
    """The name of a worker, as Celery makes it: a word, @, a host."""

    regex = r"[A-Za-z0-9][A-Za-z0-9._@-]{0,199}"
    part_isolating = True


class LogModule(BaseConverter):
    """The name of a logger: names joined by dots."""

    regex = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
    part_isolating = True


class Version(BaseConverter):
    """The number of an immutable version."""

    regex = r"[1-9][0-9]{0,8}"
    part_isolating = True

    def to_python(self, value: str) -> int:
        """Return the number."""
        return int(value)


CONVERTERS: Final[dict[str, type[BaseConverter]]] = {
    "step_key": StepKey,
    "dotted": Dotted,
    "secret_name": SecretName,
    "signal_name": SignalName,
    "pool_name": PoolName,
    "sha256": Sha256,
    "key_id": KeyId,
    "worker_name": WorkerName,
    "log_module": LogModule,
    "version": Version,
}


def add_converters(app: Flask, api: Any) -> None:
    """Teach `app` the converters, the OpenAPI document their patterns."""
    for name, converter in CONVERTERS.items():
        app.url_map.converters[name] = converter
    for name, converter in CONVERTERS.items():
        if name == "version":
            schema: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
        else:
            schema = {"type": "string", "pattern": f"^{converter.regex}$"}
        api.register_converter(converter, lambda _, schema=schema: dict(schema))
