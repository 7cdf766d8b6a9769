"""Confidential set-up of a security domain's first keys: Amendment A, scenario 3, as the card does it.

Whoever will own the new security domain agrees on its keys with the card's CASD. What passes through the
issuer's session is public: a certificate, a challenge, an ephemeral public key, a signature.
Source: Amendment A, scenario 3, as open eUICC code shows it (the text is not public);
docs/reference/divergences.md names what is uncertain.
"""

from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.dgi import encode_dgi, parse_dgis
from opentsm.card.codec.tlv import Tlv, encode_tlv, parse_tlvs
from opentsm.card.crypto.key_agreement import KeyAgreementKey, x963_sha256
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import EcVerificationKey
from opentsm.card.errors import CardError
from opentsm.vse.certificates import PublicPoint, SetupInProgress, read_card_certificate
from opentsm.vse.certified_keys import CASD_AID, CASD_KVN, KID_AUTHORITY, KID_CONFIDENTIALITY
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.keysets import CHANNEL_KIDS, add_keys
from opentsm.vse.signing_keys import curve_of
from opentsm.vse.state import SYMMETRIC_AES, Instance, Key, KeyComponent
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_NOT_FOUND,
    SW_SECURITY,
    SW_WRONG_DATA,
    StatusError,
)

_CERTIFICATE_GROUP: Final = 0x3A01
_KEYS_GROUP: Final = 0x3A02
_CHALLENGE_GROUP: Final = 0x0085
_DGI_FORMAT: Final = 0x08
_FORMAT: Final = 0x18
_CHALLENGE_BYTES: Final = 16
_RANDOM_BYTES: Final = 16
_VERIFIES_SIGNATURES: Final = b"\x88"
_SCENARIO: Final = 0x03
_WITH_RANDOM: Final = 0x01
_AFTER_CERTIFICATE: Final = 0x08
_BASE_KEYS: Final = b"\x10"
_AES: Final = b"\x88"


def is_confidential_setup(command: CommandApdu) -> bool:
    """Tell whether a STORE DATA belongs to the scenario: its data groups 3A01 and 3A02."""
    group = int.from_bytes(command.data[:2], "big")
    return command.p1 & _FORMAT == _DGI_FORMAT and group in {_CERTIFICATE_GROUP, _KEYS_GROUP}


def confidential_setup(
    environment: Environment, channel: LogicalChannel, owner: Instance, command: CommandApdu
) -> bytes:
    """Carry out one of the two steps.

    Args:
        environment: the card.
        channel: remembers the first step.
        owner: the security domain that is to have the keys.
        command: STORE DATA.

    Returns:
        The challenge, then the receipt.

    Raises:
        StatusError: 6A88 the card has no CASD, 6985 the issuer security domain or a step left out, 6982 a
            wrong signature, 6A80 malformed or keys that exist.
    """
    started, channel.setup = channel.setup, None
    casd = environment.image.instance(CASD_AID)
    if casd is None:
        raise StatusError(SW_NOT_FOUND)
    if owner is environment.image.isd or owner is casd:
        raise StatusError(SW_CONDITIONS)
    group, value = _single_group(command.data)
    if group == _CERTIFICATE_GROUP:
        channel.setup = _first_step(environment, casd, owner, value)
        return encode_dgi(_CHALLENGE_GROUP, channel.setup.challenge)
    if started is None or started.domain != owner.aid:
        raise StatusError(SW_CONDITIONS)
    return _second_step(environment, casd, owner, _Request(started, command.data, value))


def _single_group(data: bytes) -> tuple[int, bytes]:
    try:
        groups = parse_dgis(data)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None
    if len(groups) != 1:
        raise StatusError(SW_WRONG_DATA)
    return groups[0]


def _casd_key(casd: Instance, kid: int) -> Key:
    key = casd.domain_data().find_key(kid, CASD_KVN)
    if key is None:
        raise StatusError(SW_NOT_FOUND)
    return key


def _first_step(environment: Environment, casd: Instance, owner: Instance, value: bytes) -> SetupInProgress:
    certificate = read_card_certificate(value)
    authority = _casd_key(casd, KID_AUTHORITY)
    certificate.verify(PublicPoint(curve_of(authority), authority.value))
    if certificate.role != _VERIFIES_SIGNATURES:
        raise StatusError(SW_SECURITY)
    return SetupInProgress(owner.aid, certificate.key, environment.random(_CHALLENGE_BYTES))


@dataclass(frozen=True, slots=True)
class _Request:
    started: SetupInProgress
    raw: bytes
    value: bytes


def _second_step(environment: Environment, casd: Instance, owner: Instance, request: _Request) -> bytes:
    try:
        template, public, signature = parse_tlvs(request.value)
    except (CardError, ValueError):
        raise StatusError(SW_WRONG_DATA) from None
    if (template.tag, public.tag, signature.tag) != (0xA6, 0x7F49, 0x5F37):
        raise StatusError(SW_WRONG_DATA)
    _verify_provider(request, signature)
    plan = _read_plan(template)
    secret = _casd_key(casd, KID_CONFIDENTIALITY)
    try:
        key = KeyAgreementKey(curve_of(secret), Secret(secret.value))
        agreed = key.agree(public.value)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None
    fresh = environment.random(_RANDOM_BYTES) if plan.with_random else b""
    info = _BASE_KEYS + _AES + bytes([plan.length])
    derived = x963_sha256(agreed, info + fresh, 4 * plan.length)
    receipt, *values = (derived[at : at + plan.length] for at in range(0, 4 * plan.length, plan.length))
    keys = [
        Key(kid, plan.kvn, [KeyComponent(SYMMETRIC_AES, value)])
        for kid, value in zip(CHANNEL_KIDS, values, strict=True)
    ]
    add_keys(environment, owner, keys)
    answer = encode_tlv(0x85, fresh) if fresh else b""
    return answer + encode_tlv(0x86, cmac(receipt, template.to_bytes()))


def _verify_provider(request: _Request, signature: Tlv) -> None:
    """The signature covers the data group without itself, then the challenge as the card sent it."""
    covered = request.raw[: len(request.raw) - len(signature.to_bytes())]
    message = covered + encode_dgi(_CHALLENGE_GROUP, request.started.challenge)
    provider = request.started.provider
    try:
        EcVerificationKey(provider.curve, provider.point).verify(message, signature.value)
    except CardError:
        raise StatusError(SW_SECURITY) from None


@dataclass(frozen=True, slots=True)
class _Plan:
    with_random: bool
    length: int
    kvn: int


def _read_plan(template: Tlv) -> _Plan:
    try:
        entries = parse_tlvs(template.value)
    except CardError:
        raise StatusError(SW_WRONG_DATA) from None
    fields = {entry.tag: entry.value for entry in entries}
    scenario, length, kvn = fields.get(0x90, b""), fields.get(0x81, b""), fields.get(0x83, b"")
    allowed = _WITH_RANDOM | _AFTER_CERTIFICATE
    if (
        len(fields) != len(entries)
        or not fields.keys() <= {0x90, 0x95, 0x80, 0x81, 0x82, 0x83, 0x91}
        or len(scenario) != 2
        or scenario[0] != _SCENARIO
        or scenario[1] & ~allowed
        or not scenario[1] & _AFTER_CERTIFICATE
        or fields.get(0x95) != _BASE_KEYS
        or fields.get(0x80) != _AES
        or length not in {b"\x10", b"\x18", b"\x20"}
        or fields.get(0x82) != b"\x01"
        or len(kvn) != 1
        or not 1 <= kvn[0] <= 0x7F
        or fields.get(0x91, b"")
    ):
        raise StatusError(SW_WRONG_DATA)
    return _Plan(bool(scenario[1] & _WITH_RANDOM), length[0], kvn[0])
