"""One connection to the platform's HTTP API."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from app.observability.context import bound_request_id

API_PREFIX = "/api/v1"
CONSISTENCY = "Quantum-Consistency-Token"
PAGE_SIZE = 100
_PIECE = 1 << 16
_UNAUTHENTICATED = 401
_RENEWALS = 2
"""The first may bring only what another command has renewed in the meantime, and long ago."""
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx answer: its status, JSON document and headers."""

    status: int
    document: Any
    headers: Mapping[str, str]


class ApiProblem(Exception):
    """The API refused a request; carries its RFC 9457 problem document."""

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        self.status = status
        self.document = dict(document)
        super().__init__(f"{status} {self.title}")

    @property
    def title(self) -> str:
        """The short, human-readable summary of the problem."""
        return str(self.document.get("title") or "the server refused the request")

    @property
    def faults(self) -> tuple[str, ...]:
        """One line per fault: JSON pointer, then what is wrong there."""
        faults = self.document.get("errors") or ()
        return tuple(f"{fault.get('pointer') or '/'}: {fault.get('message', '')}" for fault in faults)


class ApiUnreachable(Exception):
    """No answer came: refused connection, time-out or a broken one."""


class ApiClient:
    """Calls the API with a bearer token; raises `ApiProblem` or `ApiUnreachable`, never returns an error.

    What a read shows is never older than the last write of this client, nor than the one that `written` tells
    of: the token which a write was answered with goes with each later read. `note` is told every new one.
    Every document goes through `reader` first, which makes it fit for whom it is for. A token that is not
    good any more is exchanged for what `renewed` returns, so that a client may outlive it.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        timeout_s: float = 30.0,
        *,
        written: str | None = None,
        note: Callable[[str], None] = lambda _: None,
        reader: Callable[[Any], Any] = lambda document: document,
        renewed: Callable[[], str] | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = requests.Session()
        # A proxy configured for the internet must not swallow calls to this very machine.
        self._http.trust_env = urlsplit(self.base_url).hostname not in _LOOPBACK
        request_id = bound_request_id()
        if request_id is not None:
            self._http.headers["X-Request-ID"] = request_id
        if token:
            self._bear(token)
        if written:
            self._http.headers[CONSISTENCY] = written
        self._note = note
        self._reader = reader
        self._renewed = renewed

    def get(self, path: str, **params: Any) -> Any:
        """The document at `path`; parameters that are None are left out."""
        return self.call("GET", path, params=params).document

    def post(self, path: str, body: Any = None, *, idempotency_key: str | None = None) -> Any:
        """POST with an Idempotency-Key, so that a repeat after a broken connection creates nothing twice."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        try:
            return self.call("POST", path, body=body, headers=headers).document
        except ApiUnreachable:
            return self.call("POST", path, body=body, headers=headers).document

    def put(self, path: str, body: Any, *, match: str | None = None) -> Any:
        """Replace the document at `path`, only as it was at the entity tag `match` if one is given."""
        headers = {"If-Match": match} if match is not None else None
        return self.call("PUT", path, body=body, headers=headers).document

    def items(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page, at most `limit` of them."""
        left = limit
        cursor: str | None = None
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self.get(path, limit=size, cursor=cursor, **params)
            yield from page["items"]
            if left is not None:
                left -= len(page["items"])
            cursor = page.get("next_cursor")
            # The event feed always names a cursor: there an empty page is the end.
            if not cursor or not page["items"]:
                return

    def download(self, path: str) -> Iterator[bytes]:
        """The content at `path`, piece by piece; a connection that breaks raises ApiUnreachable."""
        try:
            answer = self._asked("GET", path, stream=True)
            if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's own boundary between answers and errors
                document = self._reader(_document(answer))
                raise ApiProblem(answer.status_code, document if isinstance(document, dict) else {})
            yield from answer.iter_content(_PIECE)
        except requests.RequestException as error:
            raise ApiUnreachable(f"no answer from {self.base_url}: {type(error).__name__}") from error

    def lines(self, url: str, headers: Mapping[str, str], silence_s: float) -> Iterator[str]:
        """The lines of an endless answer at a whole URL; raises ApiProblem, ApiUnreachable after a silence.

        An answer that ends just ends the lines.
        """
        try:
            answer = self._http.get(
                url, headers=dict(headers), stream=True, timeout=(self._timeout_s, silence_s)
            )
            with answer:
                if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's own boundary between answers and errors
                    document = self._reader(_document(answer))
                    raise ApiProblem(answer.status_code, document if isinstance(document, dict) else {})
                for line in answer.iter_lines(chunk_size=None):
                    yield line.decode()
        except requests.RequestException as error:
            raise ApiUnreachable(f"the stream broke: {type(error).__name__}") from error

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request under /api/v1; raises `ApiProblem` for 4xx and 5xx, `ApiUnreachable` for no answer."""
        query = {name: value for name, value in (params or {}).items() if value is not None}
        try:
            answer = self._asked(method, path, json=body, params=query, headers=headers)
        except requests.RequestException as error:
            raise ApiUnreachable(f"no answer from {self.base_url}: {type(error).__name__}") from error
        document = self._reader(_document(answer))
        if answer.status_code >= 400:  # noqa: PLR2004 - HTTP's own boundary between answers and errors
            raise ApiProblem(answer.status_code, document if isinstance(document, dict) else {})
        if written := answer.headers.get(CONSISTENCY):
            self._http.headers[CONSISTENCY] = written
            self._note(written)
        return Reply(answer.status_code, document, answer.headers)

    def _asked(self, method: str, path: str, **more: Any) -> requests.Response:
        """Send one request, again with another token where this one is not good any more."""
        renewals = 0
        while True:
            answer = self._http.request(
                method,
                self.base_url + API_PREFIX + path,
                timeout=self._timeout_s,
                allow_redirects=False,
                **more,
            )
            if answer.status_code != _UNAUTHENTICATED or self._renewed is None or renewals == _RENEWALS:
                return answer
            renewals += 1
            self._bear(self._renewed())

    def _bear(self, token: str) -> None:
        self._http.headers["Authorization"] = f"Bearer {token}"


def sign_in(base_url: str, tenant: str, email: str, password: str) -> dict[str, Any]:
    """Exchange credentials for the token document {access_token, refresh_token, token_type, expires_in}."""
    body = {"tenant": tenant, "email": email, "password": password}
    document: dict[str, Any] = ApiClient(base_url).call("POST", "/auth/token", body=body).document
    return document


def _document(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except requests.JSONDecodeError:
        # A proxy in front may answer text; the status alone is then what we know.
        return {"title": answer.text[:200] or answer.reason}
