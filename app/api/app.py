"""The HTTP application, put together."""

from __future__ import annotations

import json
from functools import cached_property
from typing import Any

import flask_smorest
from flask import Flask, Response
from flask.json.provider import DefaultJSONProvider
from flask_jwt_extended import JWTManager
from werkzeug.middleware.proxy_fix import ProxyFix

from app.api import (
    audit,
    auth,
    bulk,
    dead_letters,
    docs,
    events,
    flags,
    health,
    hooks,
    intent_types,
    intents,
    keys,
    log_levels,
    modules,
    platform,
    pools,
    runs,
    schedules,
    secrets,
    signals,
    steps,
    tenant_limits,
    tenants,
    timeline,
    triggers,
    usage,
    users,
    webhooks,
    workflows,
)
from app.api.converters import add_converters
from app.api.errors import register_error_handlers
from app.api.etags import shown_to_all
from app.api.measure import measure
from app.api.parts import ApiParts
from app.api.request_context import surround
from app.api.routes import PREFIX, SMALL_BODY, common_parameters, common_responses
from app.api.schemas.common import json_object_schema
from app.api.serving import Application
from app.security.tokens import ACCESS_LIFETIME, CLOCKS_APART, ISSUER

VERSION = "1.0"
RESOURCES = (
    auth,
    tenants,
    tenant_limits,
    platform,
    keys,
    log_levels,
    pools,
    users,
    usage,
    modules,
    intent_types,
    intents,
    workflows,
    runs,
    steps,
    timeline,
    dead_letters,
    bulk,
    events,
    flags,
    audit,
    secrets,
    schedules,
    webhooks,
    triggers,
    hooks,
    signals,
)


class Api(flask_smorest.Api):
    """flask-smorest without its catch-all response: each route lists its own statuses."""

    DEFAULT_ERROR_RESPONSE_NAME = None

    def _register_error_handlers(self) -> None:
        """Leave errors to app.api.errors."""

    @cached_property
    def _document(self) -> bytes:
        # The routes stand once the application is made: to render them for each reader takes 20 ms.
        return json.dumps(self.spec.to_dict(), indent=2).encode()

    def _openapi_json(self) -> Response:
        """Answer the OpenAPI document."""
        return shown_to_all(self._document, "application/json")


def create_app(parts: ApiParts) -> Flask:
    """Return the WSGI application wired with `parts`."""
    app = Application(__name__, static_folder=None)
    app.config.update(
        API_TITLE="Quantum Platform",
        API_VERSION=VERSION,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX=PREFIX,
        OPENAPI_JSON_PATH="openapi.json",
        API_SPEC_OPTIONS=_spec_options(),
        MAX_CONTENT_LENGTH=SMALL_BODY,
        JWT_ALGORITHM="EdDSA",
        JWT_DECODE_ALGORITHMS=["EdDSA"],
        JWT_PRIVATE_KEY=parts.keys.private,
        JWT_PUBLIC_KEY=parts.keys.public,
        JWT_ACCESS_TOKEN_EXPIRES=ACCESS_LIFETIME,
        JWT_ENCODE_ISSUER=ISSUER,
        JWT_DECODE_ISSUER=ISSUER,
        JWT_DECODE_LEEWAY=CLOCKS_APART,
        JWT_TOKEN_LOCATION=["headers"],
    )
    app.extensions["quantum"] = parts
    if isinstance(app.json, DefaultJSONProvider):
        app.json.sort_keys = False
    manager = JWTManager(app)
    manager.additional_headers_loader(lambda _: {"kid": parts.keys.key_id})
    register_error_handlers(app)
    surround(app)
    measure(app)
    platform.announce(app)
    api = Api(app)
    add_converters(app, api)
    api.ma_plugin.converter.add_attribute_function(json_object_schema)
    for name, parameter in common_parameters().items():
        api.spec.components.parameter(name, "header", parameter)
    for name, answer in common_responses().items():
        api.spec.components.response(name, answer)
    for name, schema in workflows.definition_components().items():
        api.spec.components.schema(name, schema)
    for resource in RESOURCES:
        api.register_blueprint(resource.blueprint)
    app.register_blueprint(health.blueprint)
    app.register_blueprint(docs.blueprint)
    return app


def behind_proxies(app: Flask, count: int) -> Flask:
    """Return `app` believing what `count` proxies before it say of the client: its address, host, scheme.

    With none the headers are ignored: else anybody could choose the address that sign-in limits count by.
    """
    if count:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # Flask's documented way to wrap it
            app.wsgi_app, x_for=count, x_proto=count, x_host=count
        )
    return app


def _spec_options() -> dict[str, Any]:
    return {
        "info": {
            "description": "Declare intents, watch their runs, repair what failed.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}}
        },
    }
