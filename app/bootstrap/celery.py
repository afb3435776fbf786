"""The wiring of a Celery process: worker, beat or Flower."""

from __future__ import annotations

from functools import cached_property

from app.bootstrap.beat import BeatParts, build_beat
from app.bootstrap.broker import build_link
from app.bootstrap.intake import build_registry, build_slots
from app.bootstrap.stores import build_artifacts, build_database, build_platform
from app.bootstrap.traces import trace_as
from app.bootstrap.worker import WorkerParts, build_worker
from app.db.ids import new_id
from app.messaging.broker_epoch import BrokerLink
from app.messaging.celery_app import QuantumCelery, create_celery
from app.messaging.producer import CanvasProducer
from app.observability.logging import configure_logging, name_process
from app.services.dispatch import Dispatch
from app.services.plans import PlanCache
from app.services.ports import Engine
from app.services.type_book import TypeBook
from app.settings import Settings
from workflows.catalog import load_catalogue


def build_celery(settings: Settings) -> QuantumCelery:
    """Return the Celery application of workers, beat and Flower; nothing connects yet."""
    configure_logging(settings.log_level, settings.log_format, process="celery")
    app = create_celery(settings)
    app.container = CeleryParts(settings, app)
    return app


class CeleryParts:
    """The parts of one Celery process, made when it first asks; a forked child makes its own connections."""

    def __init__(self, settings: Settings, app: QuantumCelery) -> None:
        self._settings = settings
        self._app = app
        self._plans = PlanCache()
        # Made before the pool forks: parent and children are one boot, and share what the modules hold.
        self._boot = new_id()
        self._registry = build_registry(settings)

    @cached_property
    def worker(self) -> WorkerParts:
        """The parts of a worker."""
        trace_as(self._settings, "worker")
        name_process("worker")
        dispatch = self._dispatch(build_link(self._settings))
        return build_worker(self._settings, dispatch, self._registry, self._boot)

    @cached_property
    def beat(self) -> BeatParts:
        """The parts of beat."""
        trace_as(self._settings, "beat")
        link = build_link(self._settings)
        types = TypeBook(load_catalogue(), self._registry, self._plans)
        return build_beat(self._settings, self._dispatch(link), types, link)

    def _dispatch(self, link: BrokerLink) -> Dispatch:
        settings = self._settings
        producer = CanvasProducer(self._app, link)
        database, artifacts = build_database(settings), build_artifacts(settings)
        engine = Engine(database, self._plans, producer, artifacts, build_slots(settings))
        return Dispatch(engine, build_platform(settings))
