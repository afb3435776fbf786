"""The WSGI entry point: `granian --interface wsgi app.wsgi:application`."""

from __future__ import annotations

import gc

from app.api.app import behind_proxies, create_app
from app.bootstrap.api import build_api
from app.bootstrap.presence import build_attendance
from app.bootstrap.pulse import build_pulse
from app.settings import inherited_environment, load_settings

GARBAGE = 10_000
"""New objects before cycles of garbage are looked for: a request leaves dozens, a batch some thousands."""

settings = load_settings(inherited_environment())
parts = build_api(settings)
build_attendance(settings, "api", parts.platform).start()
application = behind_proxies(create_app(parts), settings.api_trusted_proxies)
build_pulse(settings, "api", database=parts.database).start()
# What the application is made of stays: to look through it for garbage, every few requests, finds none.
gc.freeze()
gc.set_threshold(GARBAGE)
