"""A small Azure Blob service over HTTP: what artifacts, checkpoints ask of it, signatures checked."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

ACCOUNT = "devaccount"
KEY = base64.b64encode(hashlib.sha256(b"a key for tests").digest()).decode()
SIGNED = (
    "content-encoding",
    "content-language",
    "content-length",
    "content-md5",
    "content-type",
    "date",
    "if-modified-since",
    "if-match",
    "if-none-match",
    "if-unmodified-since",
    "range",
)


@dataclass(frozen=True)
class Facts:
    """What is known of a blob beside its content."""

    etag: str
    modified: str
    metadata: Mapping[str, str]

    @property
    def headers(self) -> dict[str, str]:
        return {"ETag": self.etag, "Last-Modified": self.modified}


@dataclass
class Peer:
    """What the service holds, what it was asked; `full` refuses what is written."""

    url: str = ""
    containers: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blocks: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    full: bool = False
    facts: dict[tuple[str, str], Facts] = field(default_factory=dict)
    writes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: tuple[str, str], headers: Mapping[str, str]) -> Facts:
        """Give a written blob its next entity tag, its metadata."""
        self.writes += 1
        own = {key.removeprefix("x-ms-meta-"): text for key, text in headers.items() if "x-ms-meta-" in key}
        self.facts[name] = Facts(f'"0x{self.writes:X}"', formatdate(usegmt=True), own)
        return self.facts[name]

    @property
    def connection_string(self) -> str:
        endpoint = f"{self.url}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint}"


def signature(method: str, target: str, headers: dict[str, str]) -> str:
    """Return the Authorization header that Azure's SharedKey scheme asks for."""
    parts = urlsplit(target)
    values = [headers.get(name, "") for name in SIGNED]
    if values[2] == "0":
        values[2] = ""
    own = sorted((name, text.strip()) for name, text in headers.items() if name.startswith("x-ms-"))
    query: dict[str, list[str]] = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True):
        query.setdefault(name.lower(), []).append(text)
    resource = f"/{ACCOUNT}{parts.path}" + "".join(
        f"\n{name}:{','.join(sorted(texts))}" for name, texts in sorted(query.items())
    )
    words = "\n".join([method, *values, *(f"{name}:{text}" for name, text in own), resource])
    digest = hmac.digest(base64.b64decode(KEY), words.encode(), "sha256")
    return f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"


class Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    peer: Peer

    def answer(self, status: int, code: str = "", body: bytes = b"", **headers: str) -> None:
        if code:
            body = (
                f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            )
            headers |= {"x-ms-error-code": code, "Content-Type": "application/xml"}
        self.send_response(status)
        for name, text in {"x-ms-version": "2021-12-02", "ETag": '"1"', **headers}.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self) -> None:
        headers = {name.lower(): text for name, text in self.headers.items()}
        content = self.rfile.read(int(headers.get("content-length") or 0))
        self.peer.asked.append(f"{self.command} {self.path}")
        if headers.get("authorization") != signature(self.command, self.path, headers):
            return self.answer(403, "AuthenticationFailed")
        path = unquote(urlsplit(self.path).path).split("/", 3)[2:]
        query = dict(parse_qsl(urlsplit(self.path).query))
        container, blob = path[0], path[1] if len(path) > 1 else ""
        if not blob and query.get("comp") == "list":
            return self.list(container, query.get("prefix", ""))
        if not blob:
            made = container in self.peer.containers
            if self.command != "PUT":
                return self.answer(200) if made else self.answer(404, "ContainerNotFound")
            self.peer.containers.setdefault(container, {})
            return self.answer(409, "ContainerAlreadyExists") if made else self.answer(201)
        blobs = self.peer.containers.get(container)
        if blobs is None:
            return self.answer(404, "ContainerNotFound")
        answers = {"PUT": self.put, "GET": self.get, "HEAD": self.get, "DELETE": self.delete}
        with self.peer.lock:
            return answers[self.command](blobs, (container, blob), query, headers, content)

    do_PUT = do_GET = do_HEAD = do_DELETE = serve

    def put(self, blobs: Any, name: Any, query: Any, headers: dict[str, str], content: bytes) -> None:
        if self.peer.full:
            return self.answer(507, "InsufficientStorage")
        there, wanted = self.peer.facts.get(name), headers.get("if-match")
        if query.get("comp") == "metadata":
            return self.describe(name, headers)
        if headers.get("if-none-match") == "*" and name[1] in blobs:
            return self.answer(409, "BlobAlreadyExists")
        if wanted is not None and (there is None or wanted != there.etag):
            return self.answer(412, "ConditionNotMet")
        if query.get("comp") == "block":  # nobody sees it before it is in a list
            self.peer.blocks.setdefault(name, {})[query["blockid"]] = content
            return self.answer(201)
        if query.get("comp") == "blocklist":
            staged = self.peer.blocks.pop(name, {})
            ids = re.findall(r"<Latest>([^<]+)</Latest>", content.decode())
            blobs[name[1]] = b"".join(staged[each] for each in ids)
        else:
            blobs[name[1]] = content
        return self.answer(201, **self.peer.note(name, headers).headers)

    def describe(self, name: Any, headers: dict[str, str]) -> None:
        """Replace the metadata of a blob that is as the caller knows it."""
        there, wanted = self.peer.facts.get(name), headers.get("if-match")
        if there is None:
            return self.answer(404, "BlobNotFound")
        if headers.get("if-none-match") == "*" or wanted not in (None, there.etag):
            return self.answer(412, "ConditionNotMet")
        return self.answer(200, **self.peer.note(name, headers).headers)

    def list(self, container: str, prefix: str) -> None:
        """Answer with the blobs whose names begin so, metadata included."""
        rows = []
        for (other, name), facts in sorted(self.peer.facts.items()):
            if other == container and name.startswith(prefix):
                own = "".join(f"<{key}>{escape(text)}</{key}>" for key, text in facts.metadata.items())
                told = f"<Last-Modified>{facts.modified}</Last-Modified><Etag>{escape(facts.etag)}</Etag>"
                kind = "<Content-Length>0</Content-Length><BlobType>BlockBlob</BlobType>"
                rows.append(
                    f"<Blob><Name>{escape(name)}</Name><Properties>{told}{kind}</Properties>"
                    f"<Metadata>{own}</Metadata></Blob>"
                )
        head = f'<EnumerationResults ServiceEndpoint="{self.peer.url}" ContainerName="{container}">'
        text = f"<?xml version='1.0'?>{head}<Blobs>{''.join(rows)}</Blobs><NextMarker/></EnumerationResults>"
        return self.answer(200, "", text.encode(), **{"Content-Type": "application/xml"})

    def get(self, blobs: Any, name: Any, query: Any, headers: dict[str, str], content: bytes) -> None:
        whole: bytes | None = blobs.get(name[1])
        if whole is None:
            return self.answer(404, "BlobNotFound")
        more = {"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "x-ms-blob-type": "BlockBlob"}
        wanted = re.match(r"bytes=(\d+)-(\d+)?", headers.get("x-ms-range") or headers.get("range") or "")
        if wanted is None:
            return self.answer(200, "", whole, **more)
        start = int(wanted[1])
        if start >= len(whole):
            return self.answer(416, "InvalidRange")
        part = whole[start : int(wanted[2]) + 1 if wanted[2] else None]
        more["Content-Range"] = f"bytes {start}-{start + len(part) - 1}/{len(whole)}"
        return self.answer(206, "", part, **more)

    def delete(self, blobs: Any, name: Any, query: Any, headers: dict[str, str], content: bytes) -> None:
        self.peer.facts.pop(name, None)
        if blobs.pop(name[1], None) is None:
            return self.answer(404, "BlobNotFound")
        return self.answer(202)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def blob_peer() -> Iterator[Peer]:
    """Serve on a port of this machine."""
    peer = Peer()
    handler = type("PeerHandler", (Handler,), {"peer": peer})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        peer.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield peer
        server.shutdown()
