"""Another WSGI application behind the very server command that serves ours."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from app.runtime.ports import LOOPBACK, free_port
from app.runtime.supervisor import read_procfile

ROOT = Path(__file__).resolve().parents[1]
OURS = "app.wsgi:application"
ANSWERS_WITHIN_S = 30.0


def api_command() -> str:
    """Return the command of the Procfile that serves our API."""
    return next(spec.command for spec in read_procfile() if spec.name == "api")


@contextmanager
def served(application: str, command: str, environ: Mapping[str, str], log: Path) -> Iterator[str]:
    """Serve `application` as `command` serves ours; yields its URL once it answers."""
    port = free_port()
    programs = f"{Path(sys.executable).parent}:{environ.get('PATH', '')}"
    environment = {**environ, "API_PORT": str(port), "PATH": programs}
    shell = ["/bin/sh", "-c", "exec " + command.replace(OURS, application)]
    with log.with_suffix(f".{application.partition(':')[0]}.log").open("wb") as out:
        process = subprocess.Popen(shell, cwd=ROOT, env=environment, stdout=out, stderr=out)
    url = f"http://{LOOPBACK}:{port}"
    try:
        _wait(url)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(url: str) -> None:
    deadline = time.perf_counter() + ANSWERS_WITHIN_S
    while True:
        try:
            urllib.request.urlopen(url + "/", timeout=1).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{url} does not answer") from None
            time.sleep(0.1)
        else:
            return
