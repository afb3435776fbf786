"""Standard Webhooks signatures: secrets, headers, verification."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
TOLERANCE_S: Final = 300
LONGEST_ID: Final = 255
MOST_SIGNATURES: Final = 10


class SignatureRefused(ValueError):
    """A message is not signed by a holder of the secret, or not lately."""


def new_secret() -> str:
    """Return a fresh secret in its text form, `whsec_…`."""
    return PREFIX + base64.b64encode(os.urandom(SECRET_BYTES)).decode()


def signed_headers(secrets: Iterable[str], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of a message: one signature for each secret, so that either verifies it."""
    signatures = (f"v1,{_signature(secret, message_id, timestamp, body)}" for secret in secrets)
    return {ID: message_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def verify(secrets: Iterable[str], headers: Mapping[str, str], body: bytes, now: float) -> str:
    """Return the message's id when one of the secrets signed it within five minutes of `now`.

    `headers` have lower-case names, `now` counts seconds since 1970. Raises SignatureRefused.
    """
    message_id, given = headers.get(ID, ""), headers.get(SIGNATURE, "")
    stamp = headers.get(TIMESTAMP, "")
    if not (0 < len(message_id) <= LONGEST_ID and stamp.isascii() and stamp.isdigit() and len(stamp) < 12):  # noqa: PLR2004 - seconds beyond the year 5000
        raise SignatureRefused("the headers of a signed message are missing")
    if abs(now - int(stamp)) > TOLERANCE_S:
        raise SignatureRefused("the message was signed too long ago, or by a clock that is ahead")
    signatures = [part[3:] for part in given.split(" ")[:MOST_SIGNATURES] if part.startswith("v1,")]
    for secret in secrets:
        wanted = _signature(secret, message_id, int(stamp), body).encode()
        # Each is compared in full: how long it takes tells nothing of how much was right.
        if sum(hmac.compare_digest(wanted, one.encode()) for one in signatures):
            return message_id
    raise SignatureRefused("no signature fits")


def _signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    signed = f"{message_id}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.digest(_key(secret), signed, hashlib.sha256)).decode()


def _key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise SignatureRefused("the secret is not one of ours") from error
