"""The only wiring: settings become engines, stores, senders, services."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version

from billiard.exceptions import SoftTimeLimitExceeded


from app.db.engine import Database
from app.db.ids import new_id
from app.domain.modules import ModuleRegistry, Resources
from app.messaging.amqp_probe import amqp_reader
from app.messaging.broker_epoch import BrokerLink, EpochReader, redis_reader
from app.messaging.broker_view import BlindBrokerView, RedisBrokerView
from app.messaging.celery_app import QuantumCelery, create_celery
from app.messaging.producer import CanvasProducer, SendThread
from app.observability.logging import configure_logging, get_log
from app.services.dispatch import Dispatch
from app.services.heartbeat import Worker, forget_workers
from app.services.load_modules import load_modules
from app.services.lost_child import Nursing
from app.services.plans import PlanCache
from app.services.ports import BrokerLook, Engine, Executor
from app.services.submit import SubmitDeps
from app.services.type_book import TypeBook
from app.settings import Settings
from workflows.catalog import load_catalogue

PROBE_TIMEOUT_S = 0.5
API_SOCKET_TIMEOUT_S = 1.0

Chore = tuple[str, float, Callable[[], object]]
"""A beat job that nothing depends on at once: name, seconds between two runs, what it does."""


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker uses: its pool processes execute, its parent nurses."""

    executor: Executor
    nursing: Nursing
    worker: Worker

    def named(self, hostname: str) -> WorkerParts:
        """Return the parts under the name that Celery gave this worker."""
        return replace(self, worker=replace(self.worker, name=hostname))


@dataclass(frozen=True, slots=True)
class BeatParts:
    """What beat uses."""

    dispatch: Dispatch
    broker: BrokerLook
    chores: tuple[Chore, ...]


def build_celery(settings: Settings) -> QuantumCelery:
    """Return the Celery application of workers, beat and Flower; nothing connects yet."""
    configure_logging(settings.log_level, settings.log_format, process="celery")
    app = create_celery(settings)
    app.container = CeleryParts(settings)
    return app


class CeleryParts:
    """The parts of one Celery process, made when it first asks; a forked child makes its own connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._boot = new_id()
        self._registry = ModuleRegistry(load_modules(settings.extra_modules))
        self._plans = PlanCache()
        self._worker: tuple[int, WorkerParts] | None = None

    @property
    def worker(self) -> WorkerParts:
        """The parts of a worker: the boot id is one for the parent with all its children."""
        if self._worker is None or self._worker[0] != os.getpid():
            self._worker = (os.getpid(), self._worker_parts())
        return self._worker[1]

    def beat(self) -> BeatParts:
        """Return the parts of beat."""
        settings = self._settings
        link = BrokerLink(_epoch_reader(settings), time.monotonic)
        dispatch = self._dispatch(link)
        return BeatParts(dispatch, _broker_look(settings, link), _chores(dispatch))

    def _worker_parts(self) -> WorkerParts:
        settings = self._settings
        dispatch = self._dispatch(BrokerLink(_epoch_reader(settings), time.monotonic))
        executor = Executor(
            engine=dispatch.engine,
            registry=self._registry,
            secrets=_secret_reader(settings, dispatch.engine.database),
            resources=Resources(settings.allowed_http_targets, settings.data_roots),
            log=get_log("operation"),
            interruption=SoftTimeLimitExceeded,
            random=random.random,
            clock=time.monotonic,
            wait=time.sleep,
        )
        worker = Worker(self._boot, "worker", os.getpid(), version("quantum-platform"), settings.worker_queues)
        return WorkerParts(executor, Nursing(dispatch, random.random), worker)

    def _dispatch(self, link: BrokerLink) -> Dispatch:
        settings = self._settings
        engine = Engine(Database(settings.database_url), self._plans, CanvasProducer(link))
        return Dispatch(engine, Database(settings.database_system_url))


def build_submit(settings: Settings, database: Database) -> SubmitDeps:
    """Return the acceptance of intents for an API process, whose sending runs in a thread of its own."""
    create_celery(settings, socket_timeout_s=API_SOCKET_TIMEOUT_S)
    link = BrokerLink(_epoch_reader(settings), time.monotonic)
    plans = PlanCache()
    engine = Engine(database, plans, CanvasProducer(link))
    registry = ModuleRegistry(load_modules(settings.extra_modules))
    return SubmitDeps(engine, TypeBook(load_catalogue(), registry, plans), SendThread(link), new_id)


def _epoch_reader(settings: Settings) -> EpochReader:
    if settings.broker_url.startswith("redis"):
        return redis_reader(settings.broker_url, PROBE_TIMEOUT_S)
    return amqp_reader(settings.broker_url, PROBE_TIMEOUT_S)


def _broker_look(settings: Settings, link: BrokerLink) -> BrokerLook:
    if settings.broker_url.startswith("redis"):
        return RedisBrokerView(settings.broker_url, link, time.time, PROBE_TIMEOUT_S)
    return BlindBrokerView(link)


def _chores(dispatch: Dispatch) -> tuple[Chore, ...]:
    return (("forget_workers", 60.0, partial(forget_workers, dispatch.system)),)
