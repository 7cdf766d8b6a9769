"""An off-card entity for SCP11 tests: keys from seeds, a certificate authority, sessions with a card."""

import hashlib
from dataclasses import dataclass
from datetime import date

from tests.unit.vse.card_host import CardHost

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.signature import Curve, EcSigningKey
from opentsm.card.gp import commands
from opentsm.card.gp.certificates import (
    CURVE_REFERENCES,
    USAGE_KEY_AGREEMENT,
    USAGE_VERIFY_CERTIFICATES,
    CertificateContent,
    PublicKey,
    issue_certificate,
)
from opentsm.card.gp.key_references import KeyReference, generate_key, store_authority
from opentsm.card.gp.keys import Dek, KeyType, ecc_public_put_key_field
from opentsm.card.scp import scp11
from opentsm.card.scp.scp11 import HostKeys, SessionParameters, Variant

KVN = 0x03
CA = KeyReference(0x10, KVN)
EXPIRES = date(2049, 12, 31)


def seeded_key(seed: int, curve: Curve = Curve.P_256) -> KeyAgreementKey:
    """The same key for the same seed."""
    return KeyAgreementKey.from_random(curve, bytes([seed]) * random_length(curve))


class CountedRandom:
    """A card's random numbers: the same for every card, but never the same twice on one."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, length: int) -> bytes:
        self._count += 1
        return hashlib.shake_128(self._count.to_bytes(4, "big")).digest(length)


@dataclass(frozen=True)
class Authority:
    """Whoever signs certificates in GlobalPlatform's format."""

    seed: int
    curve: Curve = Curve.P_256

    @property
    def key(self) -> KeyAgreementKey:
        return seeded_key(self.seed, self.curve)

    @property
    def identifier(self) -> bytes:
        return b"CA" + bytes([self.seed])

    def certify(
        self,
        key: KeyAgreementKey,
        serial: int = 1,
        *,
        usage: bytes = USAGE_KEY_AGREEMENT,
        subject: bytes = b"OCE",
        discretionary: bytes | None = None,
    ) -> bytes:
        content = CertificateContent(
            serial=bytes([serial]),
            authority=self.identifier,
            subject=subject,
            usage=usage,
            public_key=PublicKey(key.curve, key.point),
            expires=EXPIRES,
            discretionary=discretionary,
        )
        return issue_certificate(content, EcSigningKey(self.curve, self.key.private))

    def certify_authority(self, other: "Authority") -> bytes:
        return self.certify(other.key, 9, usage=USAGE_VERIFY_CERTIFICATES, subject=other.identifier)


def trust(host: CardHost, authority: Authority, key: KeyReference = CA) -> None:
    """Put an authority's key on the card and say whose it is."""
    field = ecc_public_put_key_field(authority.key.point, CURVE_REFERENCES[authority.curve])
    host.ok(commands.put_key(key.kvn, [field], first_kid=key.kid))
    for command in store_authority(key, authority.identifier):
        host.ok(command)


def generated(host: CardHost, variant: Variant, curve: Curve = Curve.P_256) -> bytes:
    """Let the card make its key; return the public point."""
    answer = host.ok(generate_key(KeyReference(variant.kid, KVN), curve))
    return parse_tlv(answer).value


def send_certificates(host: CardHost, *certificates: bytes, authority: KeyReference = CA) -> int:
    """Send a chain outside any session; return the first status word that is not 9000, or 9000."""
    for command in scp11.perform_security_operation(certificates, authority):
        sw = host.raw(command).sw
        if sw != 0x9000:
            return sw
    return 0x9000


def agree(
    host: CardHost,
    parameters: SessionParameters,
    keys: HostKeys,
    card_point: bytes,
    *,
    changed: CommandApdu | None = None,
) -> int:
    """Authenticate; on success the host is in the session. Return the status word."""
    command = changed or scp11.authenticate(parameters, keys.ephemeral.point)
    answer = host.raw(command)
    if answer.sw == 0x9000:
        session = scp11.open_session(parameters, command, answer.data, keys, card_point)
        host.channel, host.dek = session.channel, Dek(session.dek, KeyType.AES)
    return answer.sw
