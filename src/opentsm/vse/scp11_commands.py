"""SCP11's commands: certificates in, keys agreed, keys made on the card.

Refusals end what was begun: the off-card entity starts again with its certificates.
Source: Amendment F §7.5, §7.6 as published clients and traces show it (the text is not public).
"""

from typing import Final

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv, find
from opentsm.card.crypto.key_agreement import KeyAgreementKey, random_length
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve
from opentsm.card.errors import KeyFormatError
from opentsm.vse.card_data import CIN, IIN
from opentsm.vse.certificates import (
    CardCertificate,
    ChainInProgress,
    PublicPoint,
    VerifiedPeer,
    read_card_certificate,
)
from opentsm.vse.environment import Environment, LogicalChannel
from opentsm.vse.fields import data_objects
from opentsm.vse.key_references import agreement_owner, reference
from opentsm.vse.keysets import add_keys, replace_keys
from opentsm.vse.scp import Level, scp11
from opentsm.vse.signing_keys import curve_of
from opentsm.vse.state import DomainData, Instance, Key, KeyComponent
from opentsm.vse.status import (
    SW_CONDITIONS,
    SW_INS_NOT_SUPPORTED,
    SW_NOT_FOUND,
    SW_SECURITY,
    SW_WRONG_DATA,
    SW_WRONG_P1P2,
    StatusError,
)

PERFORM_SECURITY_OPERATION: Final = 0x2A
MUTUAL_AUTHENTICATE: Final = 0x82
INTERNAL_AUTHENTICATE: Final = 0x88
GENERATE_KEY: Final = 0xF1

# Keys of authorities that sign off-card entities' certificates.
AUTHORITY_KIDS: Final = frozenset({0x10, *range(0x20, 0x30)})
_MORE: Final = 0x80
_PUBLIC, _PRIVATE, _CURVE = 0xB0, 0xB1, 0xF0
_CURVES: Final = {b"\x00": Curve.P_256, b"\x01": Curve.P_384, b"\x03": Curve.BRAINPOOL_P256R1}


def speaks_scp11(domain: Instance) -> bool:
    """Tell whether a security domain offers the protocol."""
    return scp11.PROTOCOL in dict(domain.domain_data().scps)


def is_mutual_authenticate(domain: Instance, command: CommandApdu) -> bool:
    """Tell MUTUAL AUTHENTICATE from EXTERNAL AUTHENTICATE, whose P2 is 00."""
    return command.ins == MUTUAL_AUTHENTICATE and command.p2 != 0 and speaks_scp11(domain)


def perform_security_operation(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Verify one certificate of the off-card entity's chain.

    Args:
        environment: the card.
        channel: keeps what is verified so far.
        domain: the security domain that is spoken to.
        command: P1 version and P2 identifier of the authority's key, b8 of P2 while more follow.

    Raises:
        StatusError: 6A88 no such authority, 6982 not signed by its issuer or not on the allow-list, 6A80
            malformed.
    """
    chain, channel.chain, channel.peer = channel.chain, None, None
    channel.end_secure_channel()
    certificate = read_card_certificate(command.data)
    kid, kvn, last = command.p2 & ~_MORE, command.p1, not command.p2 & _MORE
    if chain is None or chain.domain != domain.aid or (kid, kvn) != (chain.kid, chain.kvn):
        chain = _begin_chain(environment, domain, kid, kvn, certificate)
    _check_link(chain, certificate, last=last)
    if last:
        _require_listed(environment, domain, chain.name, certificate.serial)
        channel.peer = VerifiedPeer(domain.aid, certificate.serial, certificate.key, certificate.subject)
    else:
        channel.chain = chain.continued(certificate)
    return b""


def _begin_chain(
    environment: Environment, domain: Instance, kid: int, kvn: int, certificate: CardCertificate
) -> ChainInProgress:
    owner = _authority_owner(environment, domain)
    if (kid, kvn) == (0, 0):
        name = _named_by(owner.domain_data(), certificate)
    else:
        name = reference(kid, kvn)
    key = owner.domain_data().find_key(name >> 8, name & 0xFF)
    if key is None or key.kid not in AUTHORITY_KIDS:
        raise StatusError(SW_NOT_FOUND)
    identifier = owner.domain_data().authorities.get(name, b"")
    issuer = PublicPoint(_curve(key), _component(key, _PUBLIC))
    return ChainInProgress(domain.aid, kid, kvn, name, issuer, identifier, None)


def _authority_owner(environment: Environment, domain: Instance) -> Instance:
    """Return whose authorities count: a security domain that has some trusts no others."""
    if any(key.kid in AUTHORITY_KIDS for key in domain.domain_data().keys):
        return domain
    ancestors = environment.image.ancestors(domain) if environment.profile.inherit_keys else iter(())
    for above in ancestors:
        if above.domain is not None and any(key.kid in AUTHORITY_KIDS for key in above.domain.keys):
            return above
    return domain


def _named_by(domain: DomainData, certificate: CardCertificate) -> int:
    """Return the key that the certificate's issuer identifier names, for P1 P2 = 0000."""
    for name, identifier in domain.authorities.items():
        if name >> 8 in AUTHORITY_KIDS and identifier == certificate.authority:
            return name
    raise StatusError(SW_NOT_FOUND)


def _check_link(chain: ChainInProgress, certificate: CardCertificate, *, last: bool) -> None:
    certificate.verify(chain.issuer)
    mixed = chain.is_x509 is not None and chain.is_x509 != certificate.is_x509
    other_issuer = bool(chain.issuer_id) and certificate.authority != chain.issuer_id
    if mixed or other_issuer or not (certificate.agrees if last else certificate.issues):
        raise StatusError(SW_SECURITY)


def _require_listed(environment: Environment, domain: Instance, key: int, serial: bytes) -> None:
    """Refuse a certificate that the allow-list of a key does not name; without a list all are good."""
    for holder in (domain, *environment.image.ancestors(domain)):
        listed = holder.domain.allowlists.get(key) if holder.domain is not None else None
        if listed is not None:
            if serial not in listed:
                raise StatusError(SW_SECURITY)
            return


def authenticate(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Answer MUTUAL AUTHENTICATE (SCP11a and c) or INTERNAL AUTHENTICATE (SCP11b); the session is open then.

    Returns:
        The card's public key and the receipt.

    Raises:
        StatusError: 6A88 no such key, 6A86 a key of another variant, 6985 no certificate was verified, 6982
            not on the allow-list, 6A80 malformed or not on the curve.
    """
    peer, channel.peer, channel.chain = channel.peer, None, None
    channel.end_secure_channel()
    channel.load = channel.combined = None
    kid, kvn = command.p2, command.p1
    if kid not in _variants(command.ins):
        raise StatusError(SW_WRONG_P1P2)
    owner = agreement_owner(environment, domain, kid, kvn)
    key = owner.domain_data().find_key(kid, kvn) if owner is not None else None
    if key is None:
        raise StatusError(SW_NOT_FOUND)
    profile = environment.profile
    request = scp11.read_request(command.data, kid, profile.scp11_key_lengths)
    static = _private(key)
    point = None
    if kid != scp11.KID_B:
        point = _peer_point(peer, domain, static.curve)
        _require_listed(environment, domain, reference(kid, kvn), peer.serial if peer else b"")
    ephemeral = None if kid == scp11.KID_C else _new_key(environment, static.curve)
    data = domain.domain_data().objects
    identities = scp11.identity(data.get(IIN)) + scp11.identity(data.get(CIN))
    side = scp11.CardSide(static, ephemeral, point, identities)
    level = request.level | (_entity(environment, domain, peer) if kid != scp11.KID_B else Level(0))
    channel.session, answer = scp11.agree(request, side, level, mac_length=16 if profile.scp11_s16 else 8)
    return answer


def _entity(environment: Environment, domain: Instance, peer: VerifiedPeer | None) -> Level:
    """Return as whom the off-card entity is authenticated (GPCS §10.4.2).

    The subject of its certificate is compared with the registered identifier of the domain's provider; or
    whoever the domain's authorities have certified is its provider, as the profile has it.
    """
    if environment.profile.scp11_provider == "authority":
        return Level.AUTHENTICATED
    known = peer is not None and bool(domain.provider) and peer.subject == domain.provider
    return Level.AUTHENTICATED if known else Level.ANY_AUTHENTICATED


def _variants(ins: int) -> frozenset[int]:
    return frozenset({scp11.KID_B}) if ins == INTERNAL_AUTHENTICATE else frozenset({scp11.KID_A, scp11.KID_C})


def _peer_point(peer: VerifiedPeer | None, domain: Instance, curve: Curve) -> bytes:
    if peer is None or peer.domain != domain.aid:
        raise StatusError(SW_CONDITIONS)
    if peer.key.curve is not curve:
        raise StatusError(SW_WRONG_DATA)
    return peer.key.point


def _private(key: Key) -> KeyAgreementKey:
    try:
        return KeyAgreementKey(_curve(key), Secret(_component(key, _PRIVATE)))
    except KeyFormatError:
        raise StatusError(SW_CONDITIONS) from None


def _curve(key: Key) -> Curve:
    """Return the curve of a key; one of another kind may stand in its place."""
    try:
        return curve_of(key)
    except KeyFormatError:
        raise StatusError(SW_CONDITIONS) from None


def _component(key: Key, kind: int) -> bytes:
    for component in key.components:
        if component.type == kind:
            return component.value
    raise StatusError(SW_CONDITIONS)


def _new_key(environment: Environment, curve: Curve) -> KeyAgreementKey:
    return KeyAgreementKey.from_random(curve, environment.random(random_length(curve)))


def generate_key(
    environment: Environment, channel: LogicalChannel, domain: Instance, command: CommandApdu
) -> bytes:
    """Make an SCP11 key on the card, as YubiKeys do (INS F1); GlobalPlatform has no such command.

    Args:
        environment: the card.
        channel: unused.
        domain: the key's owner.
        command: P1 version to replace or 00, P2 identifier, data the new version and the curve (F0).

    Returns:
        The public key, tag B0.

    Raises:
        StatusError: 6D00 not on this card, 6A86 no SCP11 key identifier, 6A80 malformed, 6A88 nothing to
            replace.
    """
    if not environment.profile.key_generation:
        raise StatusError(SW_INS_NOT_SUPPORTED)
    if command.p2 not in scp11.AGREEMENT_KIDS:
        raise StatusError(SW_WRONG_P1P2)
    kvn, parameters = command.data[:1], command.data[1:]
    curve_reference = find(data_objects(parameters), _CURVE) or b""
    curve = _CURVES.get(curve_reference)
    if curve is None or not 1 <= int.from_bytes(kvn, "big") <= 0x7F:
        raise StatusError(SW_WRONG_DATA)
    made = _new_key(environment, curve)
    parts = [KeyComponent(_PRIVATE, made.private.reveal()), KeyComponent(_CURVE, curve_reference)]
    key = Key(command.p2, kvn[0], parts)
    if command.p1:
        replace_keys(environment, domain, command.p1, [key])
    else:
        add_keys(environment, domain, [key])
    return encode_tlv(_PUBLIC, made.point)
