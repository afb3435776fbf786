"""The ASGI entry point of the live feed: `granian --interface asgi app.asgi:application`."""

from __future__ import annotations

from app.bootstrap.feed import build_feed
from app.bootstrap.presence import build_attendance
from app.bootstrap.pulse import build_pulse
from app.feed.application import Feed
from app.settings import inherited_environment, load_settings

settings = load_settings(inherited_environment())
build_attendance(settings, "feed").start()
application = Feed(build_feed(settings))
build_pulse(settings, "feed").start()
