"""Which keys of a party sign its tokens and verify its receipts, and what binds a token to one card. Pure."""

from opentsm.card.gp.install_params import token_reference
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import Arrangement, ContentMode
from opentsm.tsm.domain.delegation import ProofKey, ProofScheme, ProofUse, proof_key
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifierType
from opentsm.tsm.engine.proof_keys import NO_PROOFS, Proofs
from opentsm.tsm.kernel.errors import TokenRefusedError
from opentsm.tsm.kernel.ids import TenantId

_LONGEST_IMAGE_NUMBER = 16


def token_key(owner_id: TenantId, se: SecureElement, profile: SeProfile) -> ProofKey:
    """Return the key that signs a party's tokens for a card."""
    return proof_key(owner_id, ProofUse.TOKEN, scheme_of(profile, ProofUse.TOKEN), card_number(se))


def receipt_key(owner_id: TenantId, se: SecureElement, profile: SeProfile) -> ProofKey:
    """Return the key that a card's receipts for a party are made with."""
    return proof_key(owner_id, ProofUse.RECEIPT, scheme_of(profile, ProofUse.RECEIPT), card_number(se))


def proofs_of(arrangement: Arrangement, se: SecureElement, profile: SeProfile) -> Proofs:
    """Return the keys that a card needs beside those of its channels.

    For tokens and receipts where some provider works with tokens, for DAP where a domain demands signatures.
    """
    schemes = {}
    if arrangement.domain_with(Privilege.MANDATED_DAP_VERIFICATION) is not None:
        schemes[ProofUse.DAP] = ProofScheme.EC_P256  # one signature is good for all cards
    places = (arrangement.place, *arrangement.places.values())
    if any(place is not None and place.mode is ContentMode.DELEGATED for place in places):
        schemes |= {use: scheme_of(profile, use) for use in (ProofUse.TOKEN, ProofUse.RECEIPT)}
    return Proofs(schemes, card_number(se)) if schemes else NO_PROOFS


def scheme_of(profile: SeProfile, use: ProofUse) -> ProofScheme:
    """Return what a kind of card verifies tokens with, or makes receipts with."""
    named = profile.token_scheme if use is ProofUse.TOKEN else profile.receipt_scheme
    if named:
        return ProofScheme(named)
    if profile.scp == 2:
        return ProofScheme.DES
    return ProofScheme.EC_P256 if use is ProofUse.TOKEN else ProofScheme.AES


def card_number(se: SecureElement) -> bytes:
    """Return what a symmetric proof key is derived for: the card's number, or the record's id."""
    return image_number(se) or str(se.id).encode()


def image_number(se: SecureElement) -> bytes:
    """Return the card image number (CIN, tag 45) of a card; empty when it is not known."""
    for identifier in se.identifiers:
        if identifier.type is SeIdentifierType.CIN:
            try:
                number = bytes.fromhex(identifier.value)
            except ValueError:
                continue
            if 0 < len(number) <= _LONGEST_IMAGE_NUMBER:
                return number
    return b""


def reference(se: SecureElement, key: ProofKey, identifier: bytes) -> bytes:
    """Return the control reference template (value of B6) that names a token and binds it to one card.

    Raises:
        TokenRefusedError: nothing would bind it: the key verifies on every card, this one has no number.
    """
    number = image_number(se)
    if not number and not key.diversifier:
        raise TokenRefusedError(
            "A token for this secure element would be good on every card: its image number is not known.",
            advice="Register the secure element with its CIN.",
        )
    return token_reference(cin=number, token_id=identifier)
