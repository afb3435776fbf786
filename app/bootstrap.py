"""The only wiring: settings become engines, stores, senders, services."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial

import redis
from billiard.exceptions import SoftTimeLimitExceeded
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.api.limits import TenantLimits
from app.api.parts import ApiParts
from app.artifacts.choice import artifact_store
from app.db import workers
from app.db.engine import Database
from app.db.feed import PostgresOutlook
from app.db.flags import FlagStore
from app.db.ids import new_id
from app.db.intake import accept_intents
from app.db.prune import Pruner
from app.db.relay import PostgresOutbox
from app.db.replica import Replica, ReplicaRules
from app.db.usage import UsageModels
from app.db.wakeups import Wakeups, tell
from app.db.webhook_work import PostgresWebhooks
from app.domain.modules import ModuleRegistry, Resources
from app.domain.webhooks import DEFAULT_RULES, DeliveryRules
from app.feed.application import FeedParts
from app.feed.stream import StreamRules
from app.messaging.amqp_probe import AmqpBrokerView, amqp_reader
from app.messaging.broker_epoch import BrokerLink, EpochReader, redis_reader
from app.messaging.broker_view import RedisBrokerView
from app.messaging.celery_app import QuantumCelery, create_celery
from app.messaging.producer import CanvasProducer, SendThread
from app.messaging.rabbit_topic import RabbitTopic
from app.messaging.streams import RedisStreams, StreamLimits, connect_streams
from app.messaging.webhook_post import Line, Watchdog
from app.observability.logging import configure_logging, get_log, name_process
from app.presence import build_attendance, release
from app.pulse_setup import PulseOf, build_figures, build_pulse
from app.runtime.backup_process import backup_chores
from app.security.audit_chain import AuditKey
from app.security.key_ring import KeyRing
from app.security.keys import signing_keys
from app.security.secret_box import SecretBox
from app.services.admission import Admission, AdmissionRules, prune_keys, relist
from app.services.artifacts import Artifacts
from app.services.attendance import Attendance
from app.services.deliver_webhooks import Deliverer
from app.services.dispatch import Dispatch
from app.services.event_bell import EventBell, RingingSender
from app.services.flags import Flags, RuleBook
from app.services.group_commit import GroupCommit
from app.services.heartbeat import Worker, forget_workers
from app.services.live_feed import FeedRules, LiveFeed
from app.services.load_modules import load_modules
from app.services.lost_child import Nursing
from app.services.maintenance import MaintenanceSign
from app.services.manage_secrets import secret_reader
from app.services.manage_webhooks import WebhookDeps
from app.services.manage_workflows import Installed
from app.services.plans import PlanCache
from app.services.ports import BrokerLook, Engine, Executor
from app.services.prune import prune
from app.services.receive_hook import HookDeps
from app.services.relay import Relay, RelayRules, Sink
from app.services.run_bulk import AtOnce
from app.services.seal_audit import seal_audit
from app.services.slots import NoSlots, SeenSlots, Slots
from app.services.standing import Standings
from app.services.submit import SendLater, SubmitDeps
from app.services.type_book import TypeBook
from app.services.usage import follow_usage
from app.services.webhook_attempt import Attempts
from app.settings import Settings
from app.trace_setup import trace_as
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
    kill_after_s: float
    """How long a step may go on past its soft time limit."""
    stretches: bool
    """Whether a pool process goes on with the next step of a chain."""
    pulse: PulseOf
    attendance: Attendance

    def named(self, hostname: str) -> WorkerParts:
        """Return the parts under the name that Celery gave this worker."""
        return replace(self, worker=replace(self.worker, name=hostname))


@dataclass(frozen=True, slots=True)
class BeatParts:
    """What beat uses."""

    dispatch: Dispatch
    broker: BrokerLook
    submit: SubmitDeps
    bulk: SubmitDeps
    chores: tuple[Chore, ...]
    flags: Flags
    pulse: PulseOf
    attendance: Attendance


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
        self._registry = ModuleRegistry(load_modules(settings.extra_modules))

    @cached_property
    def worker(self) -> WorkerParts:
        """The parts of a worker."""
        settings = self._settings
        trace_as(settings, "worker")
        name_process("worker")
        dispatch = self._dispatch(BrokerLink(_epoch_reader(settings), time.monotonic))
        database = dispatch.engine.database
        executor = Executor(
            engine=dispatch.engine,
            registry=self._registry,
            secrets=secret_reader(_box(settings), database),
            resources=Resources(settings.allowed_http_targets, settings.data_roots),
            log=get_log("operation"),
            interruption=SoftTimeLimitExceeded,
            random=random.random,
            clock=time.monotonic,
            wait=time.sleep,
            flags=build_flags(database),
        )
        worker = Worker(self._boot, "worker", os.getpid(), release(), settings.worker_queues)
        nursing = Nursing(dispatch, random.random)
        pulse = partial(build_pulse, settings, database=dispatch.system)
        attendance = build_attendance(settings, "worker", dispatch.system)
        rules = settings.step_kill_after_s, settings.worker_stretches
        return WorkerParts(executor, nursing, worker, *rules, pulse, attendance)

    @cached_property
    def beat(self) -> BeatParts:
        """The parts of beat."""
        settings = self._settings
        trace_as(settings, "beat")
        link = BrokerLink(_epoch_reader(settings), time.monotonic)
        dispatch = self._dispatch(link)
        admission = _admission(settings, dispatch.engine, dispatch.system)
        types = TypeBook(load_catalogue(), self._registry, self._plans)
        intake = GroupCommit(partial(accept_intents, dispatch.engine.database))
        submit = SubmitDeps(dispatch.engine, types, SendThread(link), new_id, admission, intake)
        bulk = replace(submit, outbox=AtOnce(dispatch.engine.sender.epoch))
        audit_key = AuditKey(KeyRing(settings.secrets_keys))
        chores = (*_chores(dispatch.system, audit_key), *backup_chores(dispatch.system, settings.backups))
        flags = build_flags(dispatch.engine.database)
        look = _broker_look(settings, link, dispatch.system)
        pulse = partial(build_pulse, settings, database=dispatch.system)
        attendance = build_attendance(settings, "beat", dispatch.system)
        return BeatParts(dispatch, look, submit, bulk, chores, flags, pulse, attendance)

    def _dispatch(self, link: BrokerLink) -> Dispatch:
        settings = self._settings
        producer = CanvasProducer(self._app, link)
        database, artifacts = Database(settings.database_url), build_artifacts(settings)
        engine = Engine(database, self._plans, producer, artifacts, _slots(settings))
        return Dispatch(engine, Database(settings.database_system_url, "system"))


def build_artifacts(settings: Settings) -> Artifacts:
    """Return what keeps values and files that are too large for a row."""
    return Artifacts(artifact_store(settings), settings.artifact_max_bytes)


def build_flags(database: Database) -> Flags:
    """Return the feature flags as the app role reads them."""
    return Flags(RuleBook(FlagStore(database)))


def build_usage(settings: Settings) -> UsageModels:
    """Return the read models of usage, for those who rebuild or compare them."""
    return UsageModels(Database(settings.database_system_url, "system"))


def build_database(settings: Settings) -> Database:
    """Return the database as the app role sees it."""
    return Database(settings.database_url)


def build_replica(settings: Settings, primary: Database) -> Replica | None:
    """Return the replica of `primary` for reads, if the settings name one."""
    if not settings.database_replica_url:
        return None
    rules = ReplicaRules(max_lag_s=settings.replica_max_lag_s)
    return Replica(settings.database_replica_url, primary, rules)


def build_platform(settings: Settings) -> Database:
    """Return the database as the system role sees it: for the administration of tenants."""
    return Database(settings.database_system_url, "system")


def build_submit(settings: Settings, database: Database) -> SubmitDeps:
    """Return the acceptance of intents for an API process, whose sending runs in a thread of its own."""
    app = create_celery(settings, socket_timeout_s=API_SOCKET_TIMEOUT_S)
    link = BrokerLink(_epoch_reader(settings), time.monotonic)
    plans = PlanCache()
    artifacts = build_artifacts(settings)
    engine = Engine(database, plans, CanvasProducer(app, link), artifacts, _slots(settings))
    registry = ModuleRegistry(load_modules(settings.extra_modules))
    types = TypeBook(load_catalogue(), registry, plans)
    admission = _admission(settings, engine, build_platform(settings))
    sender: SendLater = SendThread(link)
    if settings.sinks.wakeups:
        sender = RingingSender(sender, EventBell(partial(tell, database)))
    intake = GroupCommit(partial(accept_intents, database))
    return SubmitDeps(engine, types, sender, new_id, admission, intake)


def _slots(settings: Settings) -> Slots:
    return SeenSlots() if settings.worker_stretches else NoSlots()


def _admission(settings: Settings, engine: Engine, system: Database) -> Admission:
    rules = AdmissionRules(settings.admission_floor, settings.admission_per_slot)
    return Admission(engine, system, rules, time.monotonic)


def build_api(settings: Settings) -> ApiParts:
    """Return what the HTTP application is wired with."""
    configure_logging(settings.log_level, settings.log_format, process="api")
    trace_as(settings, "api")
    database, box = Database(settings.database_url), _box(settings)
    submit, platform = build_submit(settings, database), build_platform(settings)
    replica = build_replica(settings, database)
    look = redis.Redis.from_url(
        settings.redis_url,
        socket_timeout=PROBE_TIMEOUT_S,
        socket_connect_timeout=PROBE_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return ApiParts(
        database=database,
        platform=platform,
        gauges=build_figures(settings, platform),
        keys=signing_keys(settings.jwt_private_key),
        box=box,
        audit_key=AuditKey(KeyRing(settings.secrets_keys)),
        installed=Installed(ModuleRegistry(load_modules(settings.extra_modules)), load_catalogue()),
        submit=submit,
        limits=TenantLimits(settings.redis_url, settings.api_rate_per_minute),
        standings=Standings(database),
        flags=build_flags(database),
        sign=MaintenanceSign(database),
        broker=_broker_look(settings, BrokerLink(_epoch_reader(settings), time.monotonic), platform),
        release=release(),
        replica=replica,
        feed_url=settings.feed_url,
        flower_url=settings.flower_url,
        webhooks=WebhookDeps(database, box, new_id, settings.allowed_http_targets),
        hooks=HookDeps(submit, database, box),
        hook_limits=TenantLimits(settings.redis_url, settings.hooks_rate_per_minute, name="hooks"),
        probes={
            "database": lambda: database.call("SELECT 1"),
            "redis": look.ping,
            "broker": _epoch_reader(settings),
            **({"replica": replica.probe} if replica is not None else {}),
        },
    )


def build_feed(settings: Settings) -> FeedParts:
    """Return what the live feed's process is wired with."""
    configure_logging(settings.log_level, settings.log_format, process="feed")
    database = Database(settings.database_url)
    system = Database(settings.database_system_url, "system")
    feed = LiveFeed(
        PostgresOutlook(database, system),
        FeedRules(streams=settings.feed_streams, tenant_streams=settings.feed_tenant_streams),
    )
    keys = signing_keys(settings.jwt_private_key)
    return FeedParts(
        feed,
        keys,
        Standings(database),
        build_flags(database),
        StreamRules(),
        lambda: database.call("SELECT 1"),
    )


def _box(settings: Settings) -> SecretBox:
    return SecretBox(KeyRing(settings.secrets_keys))


def _epoch_reader(settings: Settings) -> EpochReader:
    if settings.broker_url.startswith("redis"):
        return redis_reader(settings.broker_url, PROBE_TIMEOUT_S)
    return amqp_reader(settings.broker_url, PROBE_TIMEOUT_S)


def _broker_look(settings: Settings, link: BrokerLink, system: Database) -> BrokerLook:
    if settings.broker_url.startswith("redis"):
        return RedisBrokerView(settings.broker_url, link, time.time, PROBE_TIMEOUT_S)
    busy = partial(workers.busy_queues, system)
    return AmqpBrokerView(settings.broker_url, link, PROBE_TIMEOUT_S, busy)


def _chores(system: Database, audit_key: AuditKey) -> tuple[Chore, ...]:
    return (
        ("seal_audit", 5.0, partial(seal_audit, system, audit_key)),
        ("follow_usage", 2.0, partial(follow_usage, UsageModels(system))),
        ("prune", 60.0, partial(prune, Pruner(system))),
        ("forget_workers", 60.0, partial(forget_workers, system)),
        ("relist_waiting", 10.0, partial(relist, system)),
        ("prune_keys", 600.0, partial(prune_keys, system)),
    )


def build_relays(settings: Settings, names: Sequence[str] = ()) -> tuple[Relay, ...]:
    """Return a relay for each configured sink, or those of `names`: each delivers the outbox by itself."""
    trace_as(settings, "relay")
    outbox = PostgresOutbox(Database(settings.database_system_url, "system"))
    owner = f"relay-{new_id()}"
    rules = RelayRules(memory_s=StreamLimits().age_s)
    return tuple(
        Relay(outbox, build_sink(settings, name), owner, rules, time.monotonic, lambda: datetime.now(UTC))
        for name in names or settings.sinks.names
    )


def build_wakeups(settings: Settings) -> Wakeups:
    """Return what wakes the waits of this process, unless the settings leave them to polling."""
    return Wakeups(settings.database_direct_url if settings.sinks.wakeups else "")


def build_sink(settings: Settings, name: str) -> Sink:
    """Return the sink of that name; it connects when it is used."""
    sinks = settings.sinks
    if name == "rabbitmq":
        return RabbitTopic(sinks.amqp_url, sinks.exchange, sinks.event_bytes)
    if name == "eventhubs":
        # Of the extra `[azure]`: whoever has no event hub needs none of it.
        from app.messaging.event_hub import EventHub  # noqa: PLC0415 - as above

        return EventHub(sinks.hub, sinks.hub_name, sinks.event_bytes)
    return RedisStreams(connect_streams(settings.redis_url), StreamLimits(event_bytes=sinks.event_bytes))


def build_deliverer(settings: Settings, rules: DeliveryRules = DEFAULT_RULES) -> Deliverer:
    """Return one process that delivers webhooks: it leases as the system role, reads secrets as a tenant."""
    trace_as(settings, "webhooks")
    attempts = Attempts(
        settings.allowed_http_targets, rules.timeout_s, time.monotonic, lambda: datetime.now(UTC)
    )
    database = Database(settings.database_url)
    return Deliverer(
        PostgresWebhooks(Database(settings.database_system_url, "system")),
        database,
        _box(settings),
        attempts,
        partial(Line, Watchdog()),
        f"webhooks-{new_id()}",
        rules,
        random.random,
        time.monotonic,
        build_flags(database),
    )
