"""The wiring of the acceptance of intents."""

from __future__ import annotations

import time
from functools import partial

from app.bootstrap.broker import build_link
from app.bootstrap.stores import build_artifacts, build_platform
from app.db.engine import Database
from app.db.ids import new_id
from app.db.intake import accept_intents
from app.db.wakeups import tell
from app.domain.modules import ModuleRegistry
from app.messaging.celery_app import create_celery
from app.messaging.producer import CanvasProducer, SendThread
from app.services.admission import Admission, AdmissionRules
from app.services.event_bell import EventBell, RingingSender
from app.services.group_commit import GroupCommit
from app.services.load_modules import load_modules
from app.services.plans import PlanCache
from app.services.ports import Engine
from app.services.slots import NoSlots, SeenSlots, Slots
from app.services.submit import SendLater, SubmitDeps
from app.services.type_book import TypeBook
from app.settings import Settings
from workflows.catalog import load_catalogue

SOCKET_TIMEOUT_S = 1.0


def build_submit(settings: Settings, database: Database) -> SubmitDeps:
    """Return the acceptance of intents for an API process, whose sending runs in a thread of its own."""
    app = create_celery(settings, socket_timeout_s=SOCKET_TIMEOUT_S)
    link = build_link(settings)
    plans = PlanCache()
    artifacts = build_artifacts(settings)
    engine = Engine(database, plans, CanvasProducer(app, link), artifacts, build_slots(settings))
    types = TypeBook(load_catalogue(), build_registry(settings), plans)
    admission = build_admission(settings, engine, build_platform(settings))
    sender: SendLater = SendThread(link)
    if settings.sinks.wakeups:
        sender = RingingSender(sender, EventBell(partial(tell, database)))
    intake = GroupCommit(partial(accept_intents, database))
    return SubmitDeps(engine, types, sender, new_id, admission, intake)


def build_registry(settings: Settings) -> ModuleRegistry:
    """Return the modules that are installed here."""
    return ModuleRegistry(load_modules(settings.extra_modules))


def build_slots(settings: Settings) -> Slots:
    """Return what knows how many processes listen on a queue, where siblings share messages."""
    return SeenSlots() if settings.worker_stretches else NoSlots()


def build_admission(settings: Settings, engine: Engine, system: Database) -> Admission:
    """Return what lets waiting runs in, fairly among tenants."""
    rules = AdmissionRules(settings.admission_floor, settings.admission_per_slot)
    return Admission(engine, system, rules, time.monotonic)
