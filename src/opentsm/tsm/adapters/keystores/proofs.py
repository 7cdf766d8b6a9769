"""Keys that sign tokens and verify receipts, for a software keystore: the scheme says what a secret is.

EC-P256: the private number, 32 bytes. AES: 16 to 32 bytes. DES: 16 bytes. RSA: the private key as PKCS #8 in
DER. A symmetric key for one card is derived from the one under the handle.
Source: GPCS 2.3.1 Table C-1, §11.8.2.3; SP 800-108r1 §4.1 (derivation for one card).
"""

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import (
    AesMacKey,
    Curve,
    DesMacKey,
    EcSigningKey,
    RsaSigningKey,
    Signer,
    Verifier,
)
from opentsm.card.errors import KeyFormatError
from opentsm.card.gp.keys import (
    AesLayout,
    Dek,
    KeyType,
    ecc_public_put_key_field,
    put_key_field,
    rsa_public_put_key_field,
)
from opentsm.tsm.domain.delegation import ProofKey, ProofScheme

SECRET_BYTES = {ProofScheme.EC_P256: 32, ProofScheme.AES: 16, ProofScheme.DES: 16}
_LABEL = b"OpenTSM prov"
_DES_BYTES = 16
_P256_REFERENCE = 0x00


def signer(secret: Secret, key: ProofKey) -> Signer:
    """Return the key as one that signs.

    Raises:
        KeyFormatError: the secret is no key of this scheme.
    """
    match key.scheme:
        case ProofScheme.EC_P256:
            return EcSigningKey(Curve.P_256, secret)
        case ProofScheme.RSA:
            return RsaSigningKey(_rsa(secret))
        case ProofScheme.AES:
            return AesMacKey(_for_card(secret, key))
        case ProofScheme.DES:
            return DesMacKey(_for_card(secret, key))


def verifier(secret: Secret, key: ProofKey) -> Verifier:
    """Return the key as one that verifies.

    Raises:
        KeyFormatError: the secret is no key of this scheme.
    """
    match key.scheme:
        case ProofScheme.EC_P256:
            return EcSigningKey(Curve.P_256, secret).verification_key
        case ProofScheme.RSA:
            return RsaSigningKey(_rsa(secret)).verification_key
        case ProofScheme.AES:
            return AesMacKey(_for_card(secret, key))
        case ProofScheme.DES:
            return DesMacKey(_for_card(secret, key))


def put_field(secret: Secret, key: ProofKey, dek: Dek, layout: AesLayout) -> bytes:
    """Return the data field of PUT KEY with what the card verifies with: a public key, or the secret one.

    Raises:
        KeyFormatError: the secret is no key of this scheme.
    """
    match key.scheme:
        case ProofScheme.EC_P256:
            return ecc_public_put_key_field(EcSigningKey(Curve.P_256, secret).point, _P256_REFERENCE)
        case ProofScheme.RSA:
            numbers = _rsa(secret).public_key().public_numbers()
            length = (numbers.n.bit_length() + 7) // 8
            exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
            return rsa_public_put_key_field(numbers.n.to_bytes(length, "big"), exponent)
        case ProofScheme.AES:
            return put_key_field(_for_card(secret, key), KeyType.AES, dek, layout)
        case ProofScheme.DES:
            return put_key_field(_for_card(secret, key), KeyType.DES, dek, layout)


def _for_card(secret: Secret, key: ProofKey) -> Secret:
    if not key.diversifier:
        return secret
    length = _DES_BYTES if key.scheme is ProofScheme.DES else len(secret)
    return Secret(sp800_108_cmac(secret.reveal(), _LABEL, key.diversifier, 8 * length))


def _rsa(secret: Secret) -> rsa.RSAPrivateKey:
    try:
        found = load_der_private_key(secret.reveal(), None)
    except (ValueError, TypeError):
        raise KeyFormatError("no private key in PKCS #8") from None
    if not isinstance(found, rsa.RSAPrivateKey):
        raise KeyFormatError("no RSA private key")
    return found
