"""The wiring of beat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from app.bootstrap.broker import build_look
from app.bootstrap.intake import build_admission
from app.bootstrap.presence import build_attendance
from app.bootstrap.pulse import PulseOf, build_pulse
from app.bootstrap.stores import build_audit_key, build_flags
from app.db.engine import Database
from app.db.ids import new_id
from app.db.intake import accept_intents
from app.db.prune import Pruner
from app.db.usage import UsageModels
from app.messaging.broker_epoch import BrokerLink
from app.messaging.producer import SendThread
from app.runtime.backup_process import backup_chores
from app.security.audit_chain import AuditKey
from app.services.admission import prune_keys, relist
from app.services.attendance import Attendance
from app.services.dispatch import Dispatch
from app.services.flags import Flags
from app.services.group_commit import GroupCommit
from app.services.heartbeat import forget_workers
from app.services.ports import BrokerLook
from app.services.prune import prune
from app.services.run_bulk import AtOnce
from app.services.seal_audit import seal_audit
from app.services.submit import SubmitDeps
from app.services.type_book import TypeBook
from app.services.usage import follow_usage
from app.settings import Settings

Chore = tuple[str, float, Callable[[], object]]
"""A beat job that nothing depends on at once: name, seconds between two runs, what it does."""


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


def build_beat(settings: Settings, dispatch: Dispatch, types: TypeBook, link: BrokerLink) -> BeatParts:
    """Return the parts of beat."""
    database, system = dispatch.engine.database, dispatch.system
    admission = build_admission(settings, dispatch.engine, system)
    intake = GroupCommit(partial(accept_intents, database))
    submit = SubmitDeps(dispatch.engine, types, SendThread(link), new_id, admission, intake)
    bulk = replace(submit, outbox=AtOnce(dispatch.engine.sender.epoch))
    chores = (*_chores(system, build_audit_key(settings)), *backup_chores(system, settings.backups))
    look = build_look(settings, link, system)
    pulse = partial(build_pulse, settings, database=system)
    attendance = build_attendance(settings, "beat", system)
    return BeatParts(dispatch, look, submit, bulk, chores, build_flags(database), pulse, attendance)


def _chores(system: Database, audit_key: AuditKey) -> tuple[Chore, ...]:
    return (
        ("seal_audit", 5.0, partial(seal_audit, system, audit_key)),
        ("follow_usage", 2.0, partial(follow_usage, UsageModels(system))),
        ("prune", 60.0, partial(prune, Pruner(system))),
        ("forget_workers", 60.0, partial(forget_workers, system)),
        ("relist_waiting", 10.0, partial(relist, system)),
        ("prune_keys", 600.0, partial(prune_keys, system)),
    )
