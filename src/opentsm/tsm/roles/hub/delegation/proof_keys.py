"""Which keys of a party sign its tokens and verify its receipts, and what binds a token to one card. Pure."""

from opentsm.card.gp.install_params import token_reference
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.delegation import ProofKey, ProofScheme
from opentsm.tsm.domain.secure_element import SecureElement, SeIdentifierType
from opentsm.tsm.kernel.errors import TokenRefusedError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId

_SYMMETRIC = (ProofScheme.AES, ProofScheme.DES)
_LONGEST_IMAGE_NUMBER = 16


def token_key(owner_id: TenantId, se: SecureElement, profile: SeProfile) -> ProofKey:
    """Return the key that signs a party's tokens for a card."""
    usual = ProofScheme.EC_P256 if profile.scp == 3 else ProofScheme.DES
    return _key(owner_id, "token", ProofScheme(profile.token_scheme or usual.value), se)


def receipt_key(owner_id: TenantId, se: SecureElement, profile: SeProfile) -> ProofKey:
    """Return the key that a card's receipts for a party are made with."""
    usual = ProofScheme.AES if profile.scp == 3 else ProofScheme.DES
    return _key(owner_id, "receipt", ProofScheme(profile.receipt_scheme or usual.value), se)


def _key(owner_id: TenantId, use: str, scheme: ProofScheme, se: SecureElement) -> ProofKey:
    handle = KeyHandle(f"{use}/{owner_id}/{scheme.value}")
    number = image_number(se) or str(se.id).encode()
    return ProofKey(handle=handle, scheme=scheme, diversifier=number if scheme in _SYMMETRIC else b"")


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
    if not number and key.scheme not in _SYMMETRIC:
        raise TokenRefusedError(
            "A token for this secure element would be good on every card: its image number is not known.",
            advice="Register the secure element with its CIN.",
        )
    return token_reference(cin=number, token_id=identifier)
