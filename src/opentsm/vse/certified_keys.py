"""Key pairs that a card brings from the factory, certified by the test authority: SCP11 keys and the CASD.

The CASD (controlling authority security domain) vouches for the card towards those who set up a security
domain confidentially; its AID and key numbers are those of the UICC configuration and of open eUICC code.
Source: Amendment F; Amendment A as open code shows them (the texts are not public).
"""

from collections.abc import Callable
from typing import Final

from opentsm.card.codec.tlv import parse_tlv
from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.signature import Curve
from opentsm.vse import virtual_authority
from opentsm.vse.key_references import reference
from opentsm.vse.lifecycle import PERSONALIZED, SELECTABLE
from opentsm.vse.privileges import Privilege
from opentsm.vse.profiles import VseProfile
from opentsm.vse.scp.scp11 import KID_A, KID_B, PROTOCOL
from opentsm.vse.state import DomainData, Instance, Key, KeyComponent

Random = Callable[[int], bytes]

CASD_AID: Final = bytes.fromhex("A00000015153504341534400")
CASD_KVN: Final = 0x74
KID_AUTHORITY: Final = 1
KID_AUTHENTICATION: Final = 2
KID_CONFIDENTIALITY: Final = 3
CERTIFICATE: Final = 0x7F21

_SERIAL_BYTES: Final = 8
_POINT, _PRIVATE, _CURVE = 0xB0, 0xB1, 0xF0
_REFERENCES: Final = {Curve.P_256: b"\x00", Curve.P_384: b"\x01", Curve.BRAINPOOL_P256R1: b"\x03"}
_DOMAIN_PACKAGE: Final = bytes.fromhex("A0000001515350")
_DOMAIN_MODULE: Final = bytes.fromhex("A000000151535041")


def certifies(profile: VseProfile) -> bool:
    """Tell whether a new card of this kind has certified keys."""
    return profile.casd or bool(profile.scp11_factory_kvn and PROTOCOL in dict(profile.channels))


def add_agreement_keys(profile: VseProfile, domain: DomainData, name: str, random: Random) -> None:
    """Give the issuer security domain its SCP11a and SCP11b keys, where the profile has SCP11.

    There is no SCP11c key: it belongs to a group of cards, and the issuer puts it.
    """
    kvn = profile.scp11_factory_kvn
    if not kvn or PROTOCOL not in dict(profile.channels):
        return
    curve = Curve[profile.scp11_curve]
    for kid in (KID_A, KID_B):
        made = _new_key(curve, random)
        domain.keys.append(_private_key(kid, kvn, made))
        certificate = virtual_authority.certify_x509(curve, made.point, _serial(random), name)
        domain.certificates[reference(kid, kvn)] = certificate
        domain.authorities[reference(kid, kvn)] = virtual_authority.identifier()


def controlling_authority(isd: Instance) -> Instance:
    """Return the CASD of a new card whose profile says nothing else of it, without keys."""
    return Instance(
        aid=CASD_AID,
        sd=isd.aid,
        load_file=_DOMAIN_PACKAGE,
        module=_DOMAIN_MODULE,
        state=SELECTABLE,
        privileges=int(Privilege.SECURITY_DOMAIN),
        domain=DomainData(),
    )


def certify(profile: VseProfile, casd: Instance, name: bytes, random: Random) -> None:
    """Give the CASD its certified keys: with them it leaves the factory PERSONALIZED.

    Args:
        profile: the kind of card.
        casd: the controlling authority security domain.
        name: of the card, as subject of its certificates.
        random: for keys and serial numbers.
    """
    curve = Curve[profile.scp11_curve]
    signing, agreeing = _new_key(curve, random), _new_key(curve, random)
    authority = [KeyComponent(_POINT, virtual_authority.point()), KeyComponent(_CURVE, b"\x00")]
    vouching = virtual_authority.certify(curve, signing.point, _serial(random), name, agreement=False)
    secret = virtual_authority.certify(curve, agreeing.point, _serial(random), name, agreement=True)
    domain = casd.domain_data()
    domain.scps = list(profile.channels)
    domain.keys += [
        Key(KID_AUTHORITY, CASD_KVN, authority),
        _private_key(KID_AUTHENTICATION, CASD_KVN, signing),
        _private_key(KID_CONFIDENTIALITY, CASD_KVN, agreeing),
    ]
    # The certificate that GET DATA 7F21 shows is the one of the key that keys are agreed with.
    domain.objects[CERTIFICATE] = parse_tlv(secret).value
    domain.certificates |= {
        reference(KID_AUTHENTICATION, CASD_KVN): vouching,
        reference(KID_CONFIDENTIALITY, CASD_KVN): secret,
    }
    casd.state = PERSONALIZED


def _new_key(curve: Curve, random: Random) -> KeyAgreementKey:
    return KeyAgreementKey.from_random(curve, random(random_length(curve)))


def _private_key(kid: int, kvn: int, key: KeyAgreementKey) -> Key:
    parts = [KeyComponent(_PRIVATE, key.private.reveal()), KeyComponent(_CURVE, _REFERENCES[key.curve])]
    return Key(kid, kvn, parts)


def _serial(random: Random) -> bytes:
    """Return a serial number that is positive and not zero."""
    return b"\x01" + random(_SERIAL_BYTES - 1)
