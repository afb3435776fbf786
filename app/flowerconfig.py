"""Flower's configuration, read by `celery -A app.worker flower --conf=app/flowerconfig.py`."""

from __future__ import annotations

from typing import Any

from app.bootstrap.presence import build_attendance
from app.settings import inherited_environment, load_settings

# Flower takes every name below that is one of its options; the others begin with an underscore.
_settings = load_settings(inherited_environment())
_folder = _settings.state_dir / "flower"
_folder.mkdir(mode=0o700, parents=True, exist_ok=True)

address = _settings.flower_host
port = _settings.flower_port
basic_auth = [_settings.flower_basic_auth] if _settings.flower_basic_auth else []
# Without a password of its own Flower asks for a platform administrator's account.
auth = "" if _settings.flower_basic_auth else "platform-administrator"
auth_provider = None if _settings.flower_basic_auth else "app.flowerlogin.SignInHandler"
persistent = True
db = str(_folder / "flower")
state_save_interval = 10_000  # milliseconds
max_tasks = 20_000
purge_offline_workers = 300
tasks_columns = "name,uuid,args,state,received,runtime,worker"
# Repairs go through the API: a revoke behind its back would only be undone from the rows.
read_only = True

# It signs people in by rows; with a password of its own it uses none.
if not _settings.flower_basic_auth:
    build_attendance(_settings, "flower").start()

_API = f"http://{_settings.api_host}:{_settings.api_port}/api/v1"


def format_task(task: Any) -> Any:
    """Show the step's address in the API in place of the bare arguments; the task id is run:step:epoch."""
    run, _, rest = task.uuid.partition(":")
    step, _, epoch = rest.partition(":")
    if epoch:
        task.args = f"{_API}/runs/{run}/steps/{step} (dispatch epoch {epoch})"
    return task
