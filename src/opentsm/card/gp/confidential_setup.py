"""Confidential set-up of a security domain's first keys: Amendment A, scenario 3, from outside the card.

The future owner of a security domain agrees on its keys with the card's CASD; the commands pass through
anybody's session. The owner must have verified the CASD's certificate: it alone tells a card from a relay.
Source: Amendment A, scenario 3, as open eUICC code shows it (the text is not public);
docs/reference/divergences.md names what is uncertain.
"""

from dataclasses import dataclass
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import encode_dgi, parse_dgis
from opentsm.card.codec.tlv import encode_tlv, find, parse_tlvs
from opentsm.card.crypto.key_agreement import KeyAgreementKey, x963_sha256
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Signer
from opentsm.card.errors import CardCryptogramError, KeyFormatError, ResponseFormatError, TlvError
from opentsm.card.gp.certificates import PublicKey
from opentsm.card.gp.commands import store_data
from opentsm.card.gp.instructions import Ins, StoreDataStructure
from opentsm.card.gp.keys import StaticKeys

_CERTIFICATE_GROUP: Final = 0x3A01
_KEYS_GROUP: Final = 0x3A02
_CHALLENGE_GROUP: Final = 0x0085
_CHALLENGE_LENGTHS: Final = (16, 32)

_CONTROL_TEMPLATE, _SCENARIO, _USAGE, _TYPE, _LENGTH, _KID, _KVN = 0xA6, 0x90, 0x95, 0x80, 0x81, 0x82, 0x83
_COUNTER, _PUBLIC_KEY, _SIGNATURE, _RANDOM, _RECEIPT = 0x91, 0x7F49, 0x5F37, 0x85, 0x86
_SCENARIO_3: Final = 0x03
_WITH_RANDOM, _AFTER_CERTIFICATE = 0x01, 0x08
_BASE_KEYS, _AES = 0x10, 0x88


def send_certificate(certificate: bytes) -> CommandApdu:
    """Make the first command: the owner's certificate, whose key verifies signatures.

    Args:
        certificate: in GlobalPlatform's format, tag 7F21, issued by an authority that the CASD knows.

    Returns:
        STORE DATA; the card answers with a challenge (`parse_challenge`).
    """
    return store_data(
        encode_dgi(_CERTIFICATE_GROUP, certificate),
        0,
        last=False,
        structure=StoreDataStructure.DGI,
        response_expected=True,
    )


def parse_challenge(data: bytes) -> bytes:
    """Return the card's challenge, 16 or 32 bytes.

    Raises:
        ResponseFormatError: the answer is none.
    """
    try:
        groups = parse_dgis(data)
    except TlvError as problem:
        raise ResponseFormatError(f"the card's challenge is malformed: {problem}") from problem
    if len(groups) != 1 or groups[0][0] != _CHALLENGE_GROUP or len(groups[0][1]) not in _CHALLENGE_LENGTHS:
        raise ResponseFormatError("the card's challenge is data group 0085 of 16 or 32 bytes")
    return groups[0][1]


@dataclass(frozen=True, slots=True)
class KeySetPlan:
    """The key set to agree on.

    Args:
        kvn: its key version number.
        key_length: 16, 24 or 32 bytes.
        with_random: let the card add a random number of its own to the derivation.
    """

    kvn: int
    key_length: int = 16
    with_random: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.kvn <= 0x7F or self.key_length not in (16, 24, 32):
            raise KeyFormatError("a set of AES keys has a version of 1 to 127 and 16, 24 or 32 bytes a key")

    @property
    def control_template(self) -> bytes:
        """The control reference template (A6) that describes the set; the receipt covers it."""
        flags = _AFTER_CERTIFICATE | (_WITH_RANDOM if self.with_random else 0)
        fields = (
            (_SCENARIO, bytes((_SCENARIO_3, flags))),
            (_USAGE, bytes((_BASE_KEYS,))),
            (_TYPE, bytes((_AES,))),
            (_LENGTH, bytes((self.key_length,))),
            (_KID, b"\x01"),
            (_KVN, bytes((self.kvn,))),
            (_COUNTER, b""),
        )
        return encode_tlv(_CONTROL_TEMPLATE, b"".join(encode_tlv(tag, value) for tag, value in fields))


def send_key_agreement(
    plan: KeySetPlan, ephemeral_point: bytes, challenge: bytes, signer: Signer, *, signature_length: int
) -> CommandApdu:
    """Make the second command: what keys there shall be, and the owner's ephemeral key, signed.

    Args:
        plan: the key set.
        ephemeral_point: 04, X, Y on the curve of the CASD's key.
        challenge: what the card answered.
        signer: the key of the owner's certificate.
        signature_length: bytes that it will return; the signed data names the length of the whole group.

    Returns:
        STORE DATA; the card answers with the receipt (`take_keys`).
    """
    value = plan.control_template + encode_tlv(_PUBLIC_KEY, ephemeral_point)
    whole = encode_dgi(_KEYS_GROUP, value + encode_tlv(_SIGNATURE, bytes(signature_length)))
    covered = whole[: len(whole) - len(encode_tlv(_SIGNATURE, bytes(signature_length)))]
    signature = signer.sign(covered + encode_dgi(_CHALLENGE_GROUP, challenge))
    if len(signature) != signature_length:
        raise KeyFormatError(f"the signature has {len(signature)} bytes instead of {signature_length}")
    data = covered + encode_tlv(_SIGNATURE, signature)
    return store_data(data, 1, last=True, structure=StoreDataStructure.DGI, response_expected=True)


@dataclass(frozen=True, slots=True)
class AgreedKeys:
    """What both sides derive: the new key set, and the receipt with which the card proves that it has it."""

    keys: StaticKeys
    receipt: bytes


def agree_keys(plan: KeySetPlan, ephemeral: KeyAgreementKey, casd: PublicKey, random: bytes) -> AgreedKeys:
    """Derive the keys that the security domain will have, and the receipt that its card will show.

    Args:
        plan: the key set.
        ephemeral: the private key of what was or will be sent.
        casd: PK.CASD.CT of a certificate that was verified.
        random: the card's random number; empty where the plan has none, and all is known beforehand.

    Raises:
        KeyFormatError: the keys are of different curves.
    """
    length = plan.key_length
    info = bytes((_BASE_KEYS, _AES, length)) + random
    derived = x963_sha256(ephemeral.agree(casd.point), info, 4 * length)
    receipt_key, enc, mac, dek = (derived[at : at + length] for at in range(0, 4 * length, length))
    keys = StaticKeys(Secret(enc), Secret(mac), Secret(dek))
    return AgreedKeys(keys, cmac(receipt_key, plan.control_template))


def parse_receipt(plan: KeySetPlan, answer: bytes) -> tuple[bytes, bytes]:
    """Return the card's random number (empty: none was wanted) and its receipt.

    Raises:
        ResponseFormatError: the answer is malformed.
    """
    try:
        objects = parse_tlvs(answer)
    except TlvError as problem:
        raise ResponseFormatError(f"the receipt is malformed: {problem}") from problem
    fresh, receipt = find(objects, _RANDOM), find(objects, _RECEIPT)
    if receipt is None or len(receipt) != 16 or (fresh is None) == plan.with_random:
        raise ResponseFormatError("the card's answer is a receipt, with a random number where one was wanted")
    return fresh or b"", receipt


def take_keys(plan: KeySetPlan, ephemeral: KeyAgreementKey, casd: PublicKey, answer: bytes) -> StaticKeys:
    """Derive the keys that the security domain now has, and check that the card has the same.

    Args:
        plan: the key set.
        ephemeral: the private key of what was sent.
        casd: PK.CASD.CT of a certificate that was verified.
        answer: the card's answer.

    Raises:
        CardCryptogramError: the receipt is wrong: the card does not hold the key of the certificate.
        ResponseFormatError: the answer is malformed.
    """
    random, receipt = parse_receipt(plan, answer)
    agreed = agree_keys(plan, ephemeral, casd, random)
    if not compare_digest(agreed.receipt, receipt):
        raise CardCryptogramError("the receipt is wrong: the card does not hold the key of its certificate")
    return agreed.keys


def is_confidential_setup(command: CommandApdu) -> bool:
    """Tell whether a command is one of the two: whoever carries them for others carries nothing else."""
    if (command.cla, command.ins) != (0x80, Ins.STORE_DATA):
        return False
    try:
        groups = parse_dgis(command.data)
    except TlvError:
        return False
    return len(groups) == 1 and groups[0][0] in (_CERTIFICATE_GROUP, _KEYS_GROUP)
