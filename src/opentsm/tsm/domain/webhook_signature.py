"""Signatures of webhooks: HMAC-SHA256 over id, time and body (Standard Webhooks 1.0.0, symmetric scheme v1).

Source: https://github.com/standard-webhooks/standard-webhooks, spec/standard-webhooks.md.
"""

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Sequence
from datetime import datetime

from opentsm.card.crypto.secret import Secret

SECRET_BYTES = 32  # of the 24 to 64 that the standard allows
_PREFIX = "whsec_"


def shown_secret(secret: Secret) -> str:
    """Return a secret as it is given to its receiver, once: `whsec_` and base64."""
    return _PREFIX + b64encode(secret.reveal()).decode()


def read_secret(shown: str) -> Secret:
    """Read a secret as `shown_secret` writes it.

    Raises:
        ValueError: it does not have that form.
    """
    if not shown.startswith(_PREFIX):
        raise ValueError("the secret of a webhook begins with whsec_")
    return Secret(b64decode(shown.removeprefix(_PREFIX), validate=True))


def signature_headers(
    message_id: str, at: datetime, body: bytes, secrets: Sequence[Secret]
) -> dict[str, str]:
    """Return the three headers of a message.

    Args:
        message_id: the same for every attempt at one message.
        at: the time of this attempt.
        body: exactly what is sent.
        secrets: all that are in force, the newest first; each gives a signature.
    """
    timestamp = str(int(at.timestamp()))
    signatures = [_signature(secret, message_id, timestamp, body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def _signature(secret: Secret, message_id: str, timestamp: str, body: bytes) -> str:
    content = b".".join((message_id.encode(), timestamp.encode(), body))
    return "v1," + b64encode(hmac.new(secret.reveal(), content, hashlib.sha256).digest()).decode()
