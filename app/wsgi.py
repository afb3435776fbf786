"""The WSGI entry point: `granian --interface wsgi app.wsgi:application`."""

from __future__ import annotations

from app.api.app import behind_proxies, create_app
from app.bootstrap import build_api
from app.settings import inherited_environment, load_settings

settings = load_settings(inherited_environment())
application = behind_proxies(create_app(build_api(settings)), settings.api_trusted_proxies)
