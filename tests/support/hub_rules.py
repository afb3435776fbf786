"""Short times for consumers of a hub."""

from app.consumers.hubs import HubRules

QUICK = HubRules(
    batch=20, wait_s=0.1, balance_s=0.1, ownership_s=1.0, silence_s=60.0, look_s=0.1, pause_s=0.05
)
