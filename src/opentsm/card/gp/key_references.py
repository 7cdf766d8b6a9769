"""Commands for what belongs to one key of a security domain: certificates, authorities, allow-lists.

Source: Amendment F as published clients show it (the text is not public);
GPCS 2.3.1 §11.8, §11.11.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv, parse_tlvs
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import ResponseFormatError, ScriptError, TlvError
from opentsm.card.gp import commands
from opentsm.card.gp.certificates import CURVE_REFERENCES, Certificate, read_certificates
from opentsm.card.gp.instructions import CLA_GP, StoreDataStructure

KID_SCP11A: Final = 0x11
KID_SCP11B: Final = 0x13
KID_SCP11C: Final = 0x15
KID_OFF_CARD_AUTHORITY: Final = 0x10

CERTIFICATE_STORE: Final = 0xBF21
OFF_CARD_AUTHORITIES: Final = 0xFF33
CARD_AUTHORITIES: Final = 0xFF34

_INS_GENERATE_KEY: Final = 0xF1
_CONTROL_TEMPLATE, _KEY, _AUTHORITY, _AUTHORITY_KIND = 0xA6, 0x83, 0x42, 0x80
_ALLOWLIST, _COUNTER, _SERIAL, _CURVE = 0x70, 0x92, 0x93, 0xF0
_COUNTER_MAX: Final = 0x7FFF
_MOST_BLOCK: Final = 239


@dataclass(frozen=True, slots=True)
class KeyReference:
    """One key of a security domain."""

    kid: int
    kvn: int

    def to_bytes(self) -> bytes:
        """Return identifier and version, as tag 83 has them."""
        return bytes((self.kid, self.kvn))

    @property
    def control_template(self) -> bytes:
        """The control reference template (A6) that names the key."""
        return encode_tlv(_CONTROL_TEMPLATE, encode_tlv(_KEY, self.to_bytes()))


def get_certificates(key: KeyReference) -> CommandApdu:
    """Read the certificates of a key (tag BF21)."""
    return commands.get_data(CERTIFICATE_STORE, key.control_template)


def parse_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Read the answer to `get_certificates`, with tag BF21 or without: cards differ.

    Raises:
        CertificateError: a certificate is malformed.
        ResponseFormatError: there are no certificates.
    """
    try:
        objects = parse_tlvs(data)
    except TlvError as problem:
        raise ResponseFormatError(f"the certificate store is malformed: {problem}") from problem
    if not objects:
        raise ResponseFormatError("the certificate store is empty")
    return read_certificates(objects[0].value if objects[0].tag == CERTIFICATE_STORE else data)


def store_certificates(
    key: KeyReference, certificates: Sequence[bytes], *, block_size: int = _MOST_BLOCK
) -> list[CommandApdu]:
    """Store the certificates of a key, the leaf last; none takes away what is there.

    Args:
        key: whose certificates they are.
        certificates: in either format.
        block_size: most data bytes a command.
    """
    data = key.control_template + encode_tlv(CERTIFICATE_STORE, b"".join(certificates))
    return _store(data, block_size)


def store_authority(key: KeyReference, identifier: bytes) -> list[CommandApdu]:
    """Store which authority a key belongs to: of off-card entities (CA-KLOC) or of cards (CA-KLCC).

    Args:
        key: CA-KLOC's public key on the card, or the card's own key.
        identifier: tag 42 of GlobalPlatform's certificates, the subject key identifier of X.509.
    """
    of_cards = key.kid in (KID_SCP11A, KID_SCP11B, KID_SCP11C)
    content = encode_tlv(_AUTHORITY_KIND, bytes((of_cards,)))
    content += encode_tlv(_AUTHORITY, identifier) + encode_tlv(_KEY, key.to_bytes())
    return _store(encode_tlv(_CONTROL_TEMPLATE, content), _MOST_BLOCK)


def store_allowlist(
    key: KeyReference, serials: Iterable[bytes], *, counter: int | None = None
) -> list[CommandApdu]:
    """Store which certificates may be used with a key; without a list all of its authority may.

    Args:
        key: CA-KLOC's public key, or the card's SCP11 key.
        serials: of certificates, as they stand in tag 93 or in the ASN.1 integer.
        counter: 0 to 7FFF and greater than before, where SCP11c scripts could bring an old list back.

    Raises:
        ScriptError: the counter is out of range.
    """
    if counter is not None and not 0 <= counter <= _COUNTER_MAX:
        raise ScriptError(f"the counter of an allow-list cannot be {counter}")
    data = key.control_template
    data += b"" if counter is None else encode_tlv(_COUNTER, counter.to_bytes(2, "big"))
    return _store(
        data + encode_tlv(_ALLOWLIST, b"".join(encode_tlv(_SERIAL, serial) for serial in serials)),
        _MOST_BLOCK,
    )


def _store(data: bytes, block_size: int) -> list[CommandApdu]:
    blocks = [data[at : at + block_size] for at in range(0, len(data), block_size)]
    last = len(blocks) - 1
    return [
        commands.store_data(block, number, last=number == last, structure=StoreDataStructure.BER_TLV)
        for number, block in enumerate(blocks)
    ]


def generate_key(key: KeyReference, curve: Curve, *, replace_kvn: int = 0) -> CommandApdu:
    """Let the card make an SCP11 key; an extension of YubiKeys (INS F1), not of GlobalPlatform.

    The answer is the public key as tag B0.
    """
    data = bytes((key.kvn,)) + encode_tlv(_CURVE, bytes((CURVE_REFERENCES[curve],)))
    return CommandApdu(CLA_GP, _INS_GENERATE_KEY, replace_kvn, key.kid, data, 256)


def parse_authorities(data: bytes) -> dict[KeyReference, bytes]:
    """Read the list of authorities' identifiers (FF33, FF34) by key.

    Raises:
        ResponseFormatError: it is malformed.
    """
    try:
        objects = parse_tlvs(data)
        if objects and objects[0].tag in (OFF_CARD_AUTHORITIES, CARD_AUTHORITIES):
            objects = parse_tlvs(objects[0].value)
    except TlvError as problem:
        raise ResponseFormatError(f"the list of authorities is malformed: {problem}") from problem
    tags = [entry.tag for entry in objects]
    if tags != [_AUTHORITY, _KEY] * (len(objects) // 2) or any(len(o.value) != 2 for o in objects[1::2]):
        raise ResponseFormatError("the list of authorities is identifiers, each with its key")
    pairs = zip(objects[::2], objects[1::2], strict=True)
    return {KeyReference(key.value[0], key.value[1]): identifier.value for identifier, key in pairs}
