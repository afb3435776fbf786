"""Levels of loggers, for the platform's administrators."""

from __future__ import annotations

from typing import Any, Final

from app.api.etags import etag_of, expected_version
from app.api.request_context import actor, parts
from app.api.routes import Blueprint, endpoint
from app.api.schemas.log_levels import LogLevelSchema, LogLevelsSchema, NewLogLevelSchema
from app.domain.log_levels import LevelRule
from app.services import manage_log_levels as service

blueprint = Blueprint("log_levels", "How much each part of the platform writes into its log.")

PATH: Final = "/platform/log-levels/<log_module:module>"


@endpoint(blueprint, "GET /platform/log-levels", "platform:read", LogLevelsSchema)
def list_log_levels() -> dict[str, Any]:
    """List the levels in force; what is not listed is as each process was started."""
    return {"items": service.list_levels(parts().platform)}


@endpoint(blueprint, f"GET {PATH}", "platform:read", LogLevelSchema, tagged=True)
def show_log_level(module: str) -> Any:
    """Show what is said of a logger."""
    return _shown(service.show_level(parts().platform, module))


@endpoint(blueprint, f"PUT {PATH}", "platform:write", LogLevelSchema, body=NewLogLevelSchema, changes=True)
def set_log_level(body: dict[str, Any], module: str) -> Any:
    """Set a logger's level; every process obeys within seconds. What holds already changes nothing."""
    return _shown(
        service.set_level(
            parts().platform,
            actor(),
            module,
            expected_version(),
            body["level"],
            body["lasts"],
            body["reason"],
        )
    )


def _shown(rule: LevelRule) -> Any:
    return rule, {"ETag": etag_of(rule.version)}
