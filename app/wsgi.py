"""The WSGI entry point: `granian --interface wsgi app.wsgi:application`."""

from __future__ import annotations

from app.api.app import create_app
from app.bootstrap import build_api
from app.settings import inherited_environment, load_settings

application = create_app(build_api(load_settings(inherited_environment())))
