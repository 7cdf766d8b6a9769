"""Secure Channel Protocol 11, the off-card side: keys agreed on elliptic curves, SCP03's secure messaging.

Variant a authenticates both sides with a fresh key of the card, b the card only, c both without a fresh key
of the card: `scp11_script` says what that means. Every step is pure: keys come in as arguments, and the
ephemeral one must be new for every session.
Source: GPCS Amendment F §3.1.2, §7.5, §7.6.2.3, as published clients and traces show it (the text is not
public); GPCS 2.3.1 Table 11-17.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from hmac import compare_digest
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.lv import lv
from opentsm.card.codec.tlv import encode_tlv, parse_tlvs
from opentsm.card.crypto.key_agreement import KeyAgreementKey, x963_sha256
from opentsm.card.crypto.mac import cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import (
    CardCryptogramError,
    KeyFormatError,
    ResponseFormatError,
    SecureChannelError,
    TlvError,
)
from opentsm.card.gp.key_references import KID_SCP11A, KID_SCP11B, KID_SCP11C, KeyReference
from opentsm.card.scp.channel import SecurityLevel, SessionKeys
from opentsm.card.scp.scp03 import Scp03Channel

CLA: Final = 0x80
CLA_CHAINED: Final = 0x90
INS_MUTUAL_AUTHENTICATE: Final = 0x82
INS_INTERNAL_AUTHENTICATE: Final = 0x88
INS_PERFORM_SECURITY_OPERATION: Final = 0x2A

_SHORT_DATA: Final = 255
_NE: Final = 256
_MORE: Final = 0x80
_SCP11: Final = 0x11
_KEY_TYPE_AES: Final = 0x88
_IDENTIFIED: Final = 0x04

_CONTROL_TEMPLATE: Final = 0xA6
_SCP_PARAMETERS, _KEY_USAGE, _KEY_TYPE, _KEY_LENGTH, _HOST_ID = 0x90, 0x95, 0x80, 0x81, 0x84
PUBLIC_KEY: Final = 0x5F49
RECEIPT: Final = 0x86


class Variant(Enum):
    """SCP11 a, b and c: key identifier of the card's key, and what the parameters say."""

    A = (KID_SCP11A, 0x01)
    B = (KID_SCP11B, 0x00)
    C = (KID_SCP11C, 0x03)

    @property
    def kid(self) -> int:
        """Key identifier of SK.SD.ECKA."""
        return self.value[0]

    @property
    def host_is_authenticated(self) -> bool:
        """Tell whether the off-card entity proves who it is."""
        return self is not Variant.B


class Protection(Enum):
    """What the messages of a session get, as key usage qualifier (GPCS Table 11-17)."""

    MAC = 0x34
    MAC_AND_ENCRYPTION = 0x3C

    @property
    def level(self) -> SecurityLevel:
        """The same as the level of a session."""
        return SecurityLevel.C_MAC_R_MAC if self is Protection.MAC else SecurityLevel.FULL


@dataclass(frozen=True, slots=True)
class Identification:
    """Who the two sides are, where the derivation is to depend on it.

    Args:
        host_id: of the off-card entity, sent in the command.
        card_iin: tag 42 of the security domain.
        card_cin: tag 45 of the security domain.
    """

    host_id: bytes
    card_iin: bytes
    card_cin: bytes


@dataclass(frozen=True, slots=True)
class SessionParameters:
    """What both sides agree on before keys are agreed.

    Args:
        variant: a, b or c.
        kvn: key version number of the card's key.
        key_length: of the session keys: 16, 24 or 32 bytes.
        protection: of the messages.
        s16: MACs of 16 bytes; the card's `i` says so, the command does not.
        identification: mixed into the derivation when it is there; not for c.
    """

    variant: Variant
    kvn: int
    key_length: int = 16
    protection: Protection = Protection.MAC_AND_ENCRYPTION
    s16: bool = False
    identification: Identification | None = None

    def __post_init__(self) -> None:
        if self.key_length not in (16, 24, 32):
            raise SecureChannelError(f"an AES session key cannot have {self.key_length} bytes")
        if self.identification is not None and self.variant is Variant.C:
            raise SecureChannelError("SCP11c with identification is not supported")


@dataclass(frozen=True, slots=True)
class HostKeys:
    """Keys of the off-card entity.

    Args:
        ephemeral: new for this session.
        static: of the certificate, for a and c.
    """

    ephemeral: KeyAgreementKey
    static: KeyAgreementKey | None = None


def authenticate(parameters: SessionParameters, ephemeral_point: bytes) -> CommandApdu:
    """Make MUTUAL AUTHENTICATE (a, c) or INTERNAL AUTHENTICATE (b).

    Args:
        parameters: of the session.
        ephemeral_point: ePK.OCE.ECKA: 04, X, Y.

    Source: Amendment F §7.6.2.3.
    """
    ins = INS_MUTUAL_AUTHENTICATE if parameters.variant.host_is_authenticated else INS_INTERNAL_AUTHENTICATE
    identity = parameters.identification
    flags = parameters.variant.value[1] | (_IDENTIFIED if identity else 0)
    control = encode_tlv(_SCP_PARAMETERS, bytes((_SCP11, flags)))
    control += encode_tlv(_KEY_USAGE, bytes((parameters.protection.value,)))
    control += encode_tlv(_KEY_TYPE, bytes((_KEY_TYPE_AES,)))
    control += encode_tlv(_KEY_LENGTH, bytes((parameters.key_length,)))
    control += encode_tlv(_HOST_ID, identity.host_id) if identity else b""
    data = encode_tlv(_CONTROL_TEMPLATE, control) + encode_tlv(PUBLIC_KEY, ephemeral_point)
    return CommandApdu(CLA, ins, parameters.kvn, parameters.variant.kid, data, _NE)


@dataclass(frozen=True, slots=True)
class CardAnswer:
    """The card's answer: its public key (ephemeral, in c the static one) and the receipt."""

    point: bytes
    receipt: bytes

    @property
    def key_object(self) -> bytes:
        """The data object that the receipt covers."""
        return encode_tlv(PUBLIC_KEY, self.point)


def parse_answer(data: bytes) -> CardAnswer:
    """Take the answer to MUTUAL or INTERNAL AUTHENTICATE apart.

    Raises:
        ResponseFormatError: it is not a public key and a receipt of 16 bytes.
    """
    try:
        objects = parse_tlvs(data)
    except TlvError as problem:
        raise ResponseFormatError(f"the card's key agreement is malformed: {problem}") from problem
    if [entry.tag for entry in objects] != [PUBLIC_KEY, RECEIPT] or len(objects[1].value) != 16:
        raise ResponseFormatError("the card's key agreement is a public key and a receipt of 16 bytes")
    return CardAnswer(objects[0].value, objects[1].value)


@dataclass(frozen=True, slots=True)
class AgreedKeys:
    """What the derivation yields, in its order."""

    receipt: Secret
    session: SessionKeys


def derive_keys(
    parameters: SessionParameters, host: HostKeys, card_point: bytes, answered_point: bytes
) -> AgreedKeys:
    """Agree on two secrets and derive the keys (Amendment F §3.1.2).

    Args:
        parameters: of the session.
        host: own keys.
        card_point: PK.SD.ECKA from the card's certificate.
        answered_point: the public key in the card's answer.

    Raises:
        SecureChannelError: the variant needs a static key, or must not have one.
        KeyFormatError: a point is not on the curve.
    """
    if (host.static is not None) != parameters.variant.host_is_authenticated:
        raise SecureChannelError("SCP11a and c take a static key of the off-card entity, SCP11b none")
    first = host.ephemeral.agree(answered_point)
    second = (host.static or host.ephemeral).agree(card_point)
    length = parameters.key_length
    derived = x963_sha256(Secret(first.reveal() + second.reveal()), _shared_info(parameters), 5 * length)
    receipt, enc, mac, rmac, dek = (Secret(derived[at : at + length]) for at in range(0, 5 * length, length))
    return AgreedKeys(receipt, SessionKeys(enc, mac, rmac, dek))


def _shared_info(parameters: SessionParameters) -> bytes:
    info = bytes((parameters.protection.value, _KEY_TYPE_AES, parameters.key_length))
    identity = parameters.identification
    if identity is None:
        return info
    return info + lv(identity.host_id) + lv(identity.card_iin) + lv(identity.card_cin)


class Scp11Session:
    """An open session: the channel, and the key under which keys travel."""

    __slots__ = ("channel", "dek")

    def __init__(self, channel: Scp03Channel, dek: Secret) -> None:
        self.channel = channel
        self.dek = dek


def open_session(
    parameters: SessionParameters, command: CommandApdu, data: bytes, host: HostKeys, card_point: bytes
) -> Scp11Session:
    """Check the card's answer and open the session.

    Args:
        parameters: of the session.
        command: what `authenticate` made.
        data: the card's answer without status word.
        host: own keys.
        card_point: PK.SD.ECKA from a certificate that was verified: it alone proves the card.

    Raises:
        CardCryptogramError: the receipt is wrong, so the card does not hold the key of its certificate.
        ResponseFormatError: the answer is malformed.
        SecureChannelError: the keys do not fit the variant.
    """
    answer = parse_answer(data)
    if parameters.variant is Variant.C and answer.point != card_point:
        raise CardCryptogramError("in SCP11c the card answers with the key of its certificate")
    try:
        keys = derive_keys(parameters, host, card_point, answer.point)
    except KeyFormatError as problem:
        raise ResponseFormatError(f"the card's public key is unusable: {problem}") from problem
    expected = cmac(keys.receipt.reveal(), command.data + answer.key_object)
    if not compare_digest(expected, answer.receipt):
        raise CardCryptogramError("the receipt is wrong: the card does not hold the key of its certificate")
    level = parameters.protection.level
    channel = Scp03Channel.established(keys.session, level=level, chain=answer.receipt, s16=parameters.s16)
    return Scp11Session(channel, keys.session.dek)


@dataclass(frozen=True, slots=True)
class CertificateTransport:
    """How certificates reach the card.

    Args:
        extended: in one extended-length command each; otherwise chained by the class byte.
        mark_p1: set bit 8 of P1 in all but the last part, as some cards want it.
    """

    extended: bool = False
    mark_p1: bool = False


DEFAULT_TRANSPORT: Final = CertificateTransport()


def perform_security_operation(
    certificates: Sequence[bytes],
    authority: KeyReference,
    transport: CertificateTransport = DEFAULT_TRANSPORT,
) -> list[CommandApdu]:
    """Send a certificate chain to the card.

    Args:
        certificates: issuer before subject, the off-card entity's own last; the authority that the card knows
            is not among them. All in GlobalPlatform format (7F21) or all X.509.
        authority: PK.CA-KLOC on the card that verifies the first.
        transport: how long certificates are cut.

    Raises:
        SecureChannelError: no certificate.

    Source: Amendment F §7.5.
    """
    if not certificates:
        raise SecureChannelError("SCP11a and c need at least the certificate of the off-card entity")
    last = len(certificates) - 1
    commands: list[CommandApdu] = []
    for number, certificate in enumerate(certificates):
        p2 = authority.kid | (_MORE if number < last else 0)
        commands += _certificate_commands(certificate, authority.kvn, p2, transport)
    return commands


def _certificate_commands(
    certificate: bytes, kvn: int, p2: int, transport: CertificateTransport
) -> list[CommandApdu]:
    ins = INS_PERFORM_SECURITY_OPERATION
    if transport.extended and len(certificate) > _SHORT_DATA:
        return [CommandApdu(CLA, ins, kvn, p2, certificate, extended=True)]
    parts = [certificate[at : at + _SHORT_DATA] for at in range(0, len(certificate), _SHORT_DATA)] or [b""]
    marked = kvn | (_MORE if transport.mark_p1 else 0)
    chained = [CommandApdu(CLA_CHAINED, ins, marked, p2, part) for part in parts[:-1]]
    return [*chained, CommandApdu(CLA, ins, kvn, p2, parts[-1])]
