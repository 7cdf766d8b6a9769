"""Signatures of webhooks against the published vector, and against the public library as a peer.

Source: https://github.com/standard-webhooks/standard-webhooks, libraries/python/tests (test_sign_function,
test_invalid_signature_raises_error); the peer is `standardwebhooks` of PyPI.
"""

from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.domain.webhook_signature import read_secret, shown_secret, signature_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_signature_then_is_the_published_one() -> None:
    assert signature_headers(ID, AT, BODY, [read_secret(SECRET)]) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNATURE,
    }


def test_signatures_when_two_secrets_are_in_force_then_each_alone_verifies() -> None:
    old, new = Secret(bytes(range(32))), Secret(bytes(range(32, 64)))
    now = datetime.now(UTC)
    headers = signature_headers(ID, now, BODY, [new, old])
    for secret in (old, new):
        assert Webhook(shown_secret(secret)).verify(BODY, headers) == {"test": 2432232314}
    with pytest.raises(WebhookVerificationError):
        Webhook(shown_secret(Secret(bytes(32)))).verify(BODY, headers)


@pytest.mark.parametrize("changed", ["body", "webhook-id", "webhook-timestamp"])
def test_signature_when_anything_signed_is_changed_then_the_peer_refuses(changed: str) -> None:
    now = datetime.now(UTC)
    headers, body = signature_headers(ID, now, BODY, [read_secret(SECRET)]), BODY
    if changed == "body":
        body = BODY.replace(b"4", b"5")
    elif changed == "webhook-id":
        headers[changed] += "x"
    else:
        headers[changed] = str(int((now + timedelta(seconds=1)).timestamp()))
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body, headers)


@pytest.mark.parametrize("text", ["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_not base64!", "whsk_MfKQ"])
def test_secret_when_of_another_form_then_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_secret(text)
