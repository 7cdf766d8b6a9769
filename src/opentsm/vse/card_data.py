"""The data objects that GET DATA reads and STORE DATA writes.

Source: GPCS 2.3.1 §11.3, §11.3.3.1.1, §7.4.1, Appendix H; TS 102 226 §8.2.1.7 (FF21).
"""

from collections.abc import Callable
from typing import Final

from opentsm.card.codec.tlv import encode_tlv
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.key_references import CARD_AUTHORITIES, OFF_CARD_AUTHORITIES, authority_list
from opentsm.vse.keysets import key_owner, select_channel_set
from opentsm.vse.privileges import Privilege, assignable, encode
from opentsm.vse.scp import Level, scp03
from opentsm.vse.state import Instance, Key, KeyComponent
from opentsm.vse.status import SW_NOT_FOUND, StatusError

IIN: Final = 0x42
CIN: Final = 0x45
RECOGNITION: Final = 0x66
CAPABILITY: Final = 0x67
MANAGER_URL: Final = 0x5F50
SEQUENCE_COUNTER: Final = 0xC1
CONFIRMATION_COUNTER: Final = 0xC2
SECURITY_LEVEL: Final = 0xD3
KEY_INFORMATION: Final = 0xE0
APPLICATION_LIST: Final = 0x2F00
EXTENDED_RESOURCES: Final = 0xFF21
DIVERSIFICATION: Final = 0xCF
CPLC: Final = 0x9F7F

STORABLE_BY_ISSUER: Final = frozenset({IIN, CIN, RECOGNITION, CAPABILITY, MANAGER_URL})
STORABLE_BY_DOMAIN: Final = frozenset({IIN, CIN, RECOGNITION, MANAGER_URL})

# Tables H-8 to H-10: every hash, every cipher with an ICV, every signature scheme, the curves by reference.
_SIGNATURES: Final = bytes([0xFF, 0x03])
_SUITES: Final = (
    (0x83, bytes([1, 2, 3, 4])),
    (0x84, bytes([0x8F])),
    (0x85, _SIGNATURES),
    (0x86, _SIGNATURES),
    (0x87, _SIGNATURES),
    (0x88, bytes([0x00, 0x01, 0x02, 0x03, 0x05, 0x07])),
)

_ECC_PUBLIC: Final = 0xB0
_ECC_PRIVATE: Final = 0xB1
_CURVE_PARAMETERS: Final = frozenset(range(0xB2, 0xB8))
_CURVE_REFERENCE: Final = 0xF0

# Appendix H: object identifiers below 1.2.840.114283.
_GP_OID: Final = bytes.fromhex("2A864886FC6B")
_VERSIONS: Final = {
    "2.1.1": bytes([2, 1, 1]),
    "2.2.1": bytes([2, 2, 2, 1]),
    "2.3.1": bytes([2, 2, 3, 1]),
}
_OTHER_VERSION: Final = bytes([2, 2, 3])


def read_object(environment: Environment, channel: LogicalChannel, domain: Instance, tag: int) -> bytes:
    """Return a data object of a security domain, with its tag and length.

    Raises:
        StatusError: 6A88 when this security domain does not have it.
    """
    stored = domain.domain_data().objects.get(tag)
    if stored is not None:
        return encode_tlv(tag, stored)
    if tag == SECURITY_LEVEL:
        level = channel.session.level if channel.session else Level.NONE
        return encode_tlv(tag, bytes([level]))
    if tag in {OFF_CARD_AUTHORITIES, CARD_AUTHORITIES}:
        return authority_list(domain.domain_data(), tag)
    maker = _MAKERS.get(tag)
    if maker is None:
        raise StatusError(SW_NOT_FOUND)
    return maker(environment, domain)


def recognition_data(environment: Environment, domain: Instance) -> bytes:
    """Return the 73 template: card recognition data or security domain management data (§H.2, §H.3)."""
    stored = domain.domain_data().objects.get(RECOGNITION)
    if stored is not None:
        return stored
    version = _VERSIONS.get(environment.profile.gp_version, _OTHER_VERSION)
    content = _oid(bytes([1]))
    if domain is environment.image.isd:
        content += encode_tlv(0x60, _oid(version)) + encode_tlv(0x63, _oid(bytes([3])))
    return encode_tlv(0x73, content + _protocols(environment, domain))


def _protocols(environment: Environment, domain: Instance) -> bytes:
    oids = [_oid(bytes([4, protocol]) + _arc(option)) for protocol, option in domain.domain_data().scps]
    if environment.profile.recognition_format == 1:
        return b"".join(encode_tlv(0x64, oid) for oid in oids)
    return encode_tlv(0x64, b"".join(oids))


def _arc(number: int) -> bytes:
    """X.690 §8.19.2: seven bits a byte; the `i` of SCP11 has two bytes."""
    coded = bytes([number & 0x7F])
    while number := number >> 7:
        coded = bytes([0x80 | number & 0x7F]) + coded
    return coded


def _oid(arc: bytes) -> bytes:
    return encode_tlv(0x06, _GP_OID + arc)


def _recognition(environment: Environment, domain: Instance) -> bytes:
    return encode_tlv(RECOGNITION, recognition_data(environment, domain))


def _capability(environment: Environment, domain: Instance) -> bytes:
    if domain is not environment.image.isd:
        raise StatusError(SW_NOT_FOUND)
    profile, channels = environment.profile, b""
    for protocol, option in profile.channels:
        content = encode_tlv(0x80, bytes([protocol])) + encode_tlv(
            0x81, option.to_bytes(2 if option > 0xFF else 1, "big")
        )
        sizes = encode_tlv(0x82, bytes([0x07])) if protocol == 3 else b""
        channels += encode_tlv(0xA0, content + sizes)
    domains = encode_tlv(0x81, encode(assignable(profile.assignable_domain, domain=True)))
    applications = encode_tlv(0x82, encode(assignable(profile.assignable_application, domain=False)))
    suites = b"".join(encode_tlv(tag, value) for tag, value in _SUITES)
    return encode_tlv(CAPABILITY, channels + domains + applications + suites)


def _key_information(environment: Environment, domain: Instance) -> bytes:
    owner = key_owner(environment.image, domain, inherit=environment.profile.inherit_keys)
    own = domain.domain_data().keys
    keys = own if own else owner.domain_data().keys
    return encode_tlv(KEY_INFORMATION, b"".join(map(_key_entry, keys)))


def _key_entry(key: Key) -> bytes:
    shown = key.components
    # §11.3.3.1.1: a curve that came with its key is not shown.
    if shown[0].type in {_ECC_PUBLIC, _ECC_PRIVATE}:
        shown = [component for component in shown if component.type not in _CURVE_PARAMETERS]
    return encode_tlv(0xC0, bytes([key.kid, key.kvn]) + b"".join(map(_key_component, shown)))


def _key_component(component: KeyComponent) -> bytes:
    """Table 11-28 and the rules below it: a public point is counted without its 04, a curve has no length."""
    kind, length = component.type, len(component.value)
    if kind == _CURVE_REFERENCE:
        return bytes([kind]) + component.value
    return bytes([kind, length - 1 if kind == _ECC_PUBLIC else length & 0xFF])


def _sequence_counter(environment: Environment, domain: Instance) -> bytes:
    data = key_owner(environment.image, domain, inherit=environment.profile.inherit_keys).domain_data()
    protocol, keys = select_channel_set(data, 0)
    option = dict(data.scps).get(protocol, 0)
    if protocol == 3 and not scp03.is_pseudo_random(option):
        raise StatusError(SW_NOT_FOUND)
    length = 3 if protocol == 3 else 2
    return encode_tlv(SEQUENCE_COUNTER, data.sequence.get(keys.kvn, 0).to_bytes(length, "big"))


def _confirmation_counter(environment: Environment, domain: Instance) -> bytes:
    if not domain.holds(Privilege.RECEIPT_GENERATION):
        raise StatusError(SW_NOT_FOUND)
    return encode_tlv(CONFIRMATION_COUNTER, domain.domain_data().confirmations.to_bytes(2, "big"))


def _application_list(environment: Environment, domain: Instance) -> bytes:
    every = domain.holds(Privilege.GLOBAL_REGISTRY)
    listed = [
        entry
        for entry in environment.image.instances
        if entry is not environment.image.isd and (every or entry.sd == domain.aid)
    ]
    return b"".join(encode_tlv(0x61, encode_tlv(0x4F, entry.aid)) for entry in listed)


def _extended_resources(environment: Environment, domain: Instance) -> bytes:
    applications = len(environment.image.instances) - 1
    content = encode_tlv(0x81, applications.to_bytes(2, "big"))
    content += encode_tlv(0x82, max(environment.free_memory, 0).to_bytes(4, "big"))
    content += encode_tlv(0x83, environment.free_volatile.to_bytes(4, "big"))
    return encode_tlv(EXTENDED_RESOURCES, content)


def _diversification(environment: Environment, domain: Instance) -> bytes:
    return encode_tlv(DIVERSIFICATION, environment.image.identity.kdd)


def _cplc(environment: Environment, domain: Instance) -> bytes:
    return encode_tlv(CPLC, environment.image.identity.cplc)


_MAKERS: Final[dict[int, Callable[[Environment, Instance], bytes]]] = {
    RECOGNITION: _recognition,
    CAPABILITY: _capability,
    KEY_INFORMATION: _key_information,
    SEQUENCE_COUNTER: _sequence_counter,
    CONFIRMATION_COUNTER: _confirmation_counter,
    APPLICATION_LIST: _application_list,
    EXTENDED_RESOURCES: _extended_resources,
    DIVERSIFICATION: _diversification,
    CPLC: _cplc,
}
