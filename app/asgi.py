"""The ASGI entry point of the live feed: `granian --interface asgi app.asgi:application`."""

from __future__ import annotations

from app.bootstrap import build_feed
from app.feed.application import Feed
from app.presence import build_attendance
from app.pulse_setup import build_pulse
from app.settings import inherited_environment, load_settings

settings = load_settings(inherited_environment())
build_attendance(settings, "feed").start()
application = Feed(build_feed(settings))
build_pulse(settings, "feed").start()
