"""The work that goes through meanwhile: intents submitted over HTTP until the API has accepted each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from uuid import UUID, uuid4

import requests

from app.bootstrap.stores import build_platform
from app.services.manage_tenants import create_platform_tenant
from tests.chaos.fleet import Fleet
from tests.chaos.shapes import manifest, wanted
from tests.support.http_api import PASSWORD, PREFIX, ROOT_EMAIL

TENANTS = 3
LIMITS: Mapping[int, Mapping[str, int]] = {0: {"max_running_runs": 30}, 2: {"max_running_steps": 24}}
"""What the tenants by these numbers may have at once."""
ADMIN = "admin@example.org"
PATIENCE_S = 10.0
AGAIN_S = 0.2
ANSWERED = (200, 202)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An intent that the API has answered for."""

    tenant: UUID
    intent: UUID
    run: UUID
    type: str


class Client:
    """One person of one tenant; signs in again when the API does not know the token any more."""

    def __init__(self, url: str, tenant: str, email: str) -> None:
        self._url = url + PREFIX
        self._who = {"tenant": tenant, "email": email, "password": PASSWORD}
        self._http = requests.Session()
        self._http.trust_env = False

    def post(self, path: str, body: object, **headers: str) -> requests.Response:
        """Post one document."""
        return self.send("POST", path, body, **headers)

    def send(self, method: str, path: str, body: object, **headers: str) -> requests.Response:
        """Send one request, after a sign-in when there was none."""
        if "Authorization" not in self._http.headers:
            signed = self._http.post(f"{self._url}/auth/token", json=self._who, timeout=PATIENCE_S)
            if signed.status_code != 200:
                return signed
            self._http.headers["Authorization"] = f"Bearer {signed.json()['access_token']}"
        answer = self._http.request(method, self._url + path, json=body, headers=headers, timeout=PATIENCE_S)
        if answer.status_code == 401:
            del self._http.headers["Authorization"]
        return answer

    def tenant_id(self) -> UUID:
        """Return the caller's tenant."""
        answer = self._http.get(f"{self._url}/me", timeout=PATIENCE_S)
        return UUID(answer.json()["tenant_id"])


@dataclass
class Load:
    """Submits as long as `hungry()`; each submission has a key and is repeated until it is answered."""

    fleet: Fleet
    seed: int
    hungry: Callable[[], bool]
    accepted: list[Accepted] = field(default_factory=list)
    repeated: int = 0
    asking: int = 0
    refused: list[str] = field(default_factory=list)
    """Answers that no repetition can mend: there must be none."""
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Make the tenants with their module, and begin."""
        url = self.fleet.api_url
        create_platform_tenant(build_platform(self.fleet.rig.settings), "Platform", ROOT_EMAIL, PASSWORD)
        root = Client(url, "platform", ROOT_EMAIL)
        for number in range(TENANTS):
            slug = f"chaos-{number}"
            admin = {"email": ADMIN, "password": PASSWORD}
            made = root.post("/tenants", {"slug": slug, "name": slug, "admin": admin})
            assert made.status_code == 201, made.text
            client = Client(url, slug, ADMIN)
            registered = client.post("/modules", manifest())
            assert registered.status_code == 201, registered.text
            if number in LIMITS:
                path = f"/tenants/{client.tenant_id()}/limits"
                limited = root.send("PUT", path, LIMITS[number], **{"If-Match": "*"})
                assert limited.status_code == 200, limited.text
            thread = threading.Thread(
                target=self._submit, args=(client, client.tenant_id(), number), daemon=True
            )
            self._threads.append(thread)
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Submit nothing new; wait until each open submission is answered."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive(), "a submission is not answered"

    def _submit(self, client: Client, tenant: UUID, number: int) -> None:
        random = Random(f"{self.seed}/{number}")
        while not self._stop.is_set():
            if self.hungry():
                self._until_answered(client, tenant, wanted(random))
            else:
                self._stop.wait(AGAIN_S / 4)

    def _until_answered(self, client: Client, tenant: UUID, submission: dict[str, object]) -> None:
        key, pause = uuid4().hex, threading.Event()
        while True:
            self.asking += 1
            try:
                answer = client.post("/intents", submission, **{"Idempotency-Key": key})
            except requests.RequestException:
                answer = None  # nobody knows whether it was accepted: the key makes the repetition safe
            self.asking -= 1
            if answer is not None and answer.status_code in ANSWERED:
                told = answer.json()
                run = UUID(told["run"]["id"])
                self.accepted.append(
                    Accepted(tenant, UUID(told["intent"]["id"]), run, str(submission["type"]))
                )
                return
            if answer is not None and answer.status_code not in (401, 409, 429) and answer.status_code < 500:
                self.refused.append(f"{answer.status_code} {answer.text[:300]}")
                return
            self.repeated += 1
            pause.wait(AGAIN_S)
