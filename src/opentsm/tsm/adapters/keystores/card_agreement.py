"""The agreement on a security domain's keys with a card's CASD, for a software keystore.

Source: Amendment A, scenario 3, as `card.gp.confidential_setup` has it.
"""

import secrets
from dataclasses import dataclass

from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp.confidential_setup import AgreedKeys, KeySetPlan, agree_keys, send_key_agreement
from opentsm.tsm.adapters.keystores import signatures
from opentsm.tsm.ports.keystore import CardAgreement

_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class _Signer:
    secret: Secret

    def sign(self, message: bytes) -> bytes:
        return signatures.sign(self.secret, message)


def agree(signing: Secret, wanted: CardAgreement) -> tuple[bytes, AgreedKeys]:
    """Return the command for the card, and what it makes; the key pair of this side is forgotten.

    The card adds no random number of its own: all is known, and can be written down, before anything is sent.

    Raises:
        CardError: the card's key, the version or the length do not fit.
    """
    plan = KeySetPlan(wanted.kvn, wanted.key_length, with_random=False)
    curve = wanted.casd.curve
    ephemeral = KeyAgreementKey.from_random(curve, secrets.token_bytes(random_length(curve)))
    command = send_key_agreement(
        plan, ephemeral.point, wanted.challenge, _Signer(signing), signature_length=_SIGNATURE_BYTES
    )
    return command.to_bytes(), agree_keys(plan, ephemeral, wanted.casd, b"")
