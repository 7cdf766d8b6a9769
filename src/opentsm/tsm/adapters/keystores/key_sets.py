"""Key sets of the software keystore in clear: how they are checked, joined, wrapped and used in a session.

Source: Amendment D 1.1.1; GPCS 2.3.1 Appendix E; RFC 3394 (AES key wrap).
"""

from collections.abc import Iterator
from contextlib import contextmanager

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import CardError
from opentsm.card.gp import keys as gp_keys
from opentsm.card.gp.diversification import DiversificationMethod
from opentsm.card.gp.keys import Dek, KeyType, StaticKeys
from opentsm.card.scp.channel import InitializeUpdateResponse, SessionKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, session_dek
from opentsm.tsm.kernel.errors import KeyMaterialError, KeystoreError
from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.ports.keystore import ChannelContext

KEY_LENGTHS = (16, 24, 32)
SCP02, SCP03 = 2, 3


@contextmanager
def no_key_told() -> Iterator[None]:
    """Turn errors of the card library into refusals; their words name lengths and types, never values."""
    try:
        yield
    except CardError as error:
        raise KeystoreError(f"The keystore cannot do this: {error}.") from None


def require_length(length_bytes: int) -> None:
    """Raise KeystoreError for a length that no key has."""
    if length_bytes not in KEY_LENGTHS:
        raise KeystoreError(f"A key has 16, 24 or 32 bytes, not {length_bytes}.")


def diversification_method(name: str) -> DiversificationMethod:
    """Return the method of a name; raise KeystoreError when there is none."""
    try:
        return DiversificationMethod[name.upper()]
    except KeyError:
        known = ", ".join(method.name for method in DiversificationMethod)
        raise KeystoreError(f"There is no key diversification {quoted(name)}; there are {known}.") from None


def key_type(scp: int) -> KeyType:
    """Return the type of the keys of a secure-channel protocol."""
    if scp not in (SCP02, SCP03):
        raise KeystoreError(f"The keystore holds no keys for SCP{scp:02}, only for 02 and 03.")
    return KeyType.AES if scp == SCP03 else KeyType.DES


def check_values(keys: StaticKeys, scp: int) -> tuple[bytes, bytes, bytes]:
    """Return the check values of ENC, MAC and DEK."""
    kind = key_type(scp)
    enc, mac, dek = (gp_keys.key_check_value(key, kind) for key in (keys.enc, keys.mac, keys.dek))
    return enc, mac, dek


def session_of(static: StaticKeys, context: ChannelContext) -> SessionKeys:
    """Derive the session keys of a channel."""
    return derive_session_keys(static, card_answer(context), context.host_challenge)


def dek_of(static: StaticKeys, context: ChannelContext) -> Dek:
    """Return the data encryption key that counts in a session."""
    return session_dek(session_of(static, context), card_answer(context))


def card_answer(context: ChannelContext) -> InitializeUpdateResponse:
    """Read the answer to INITIALIZE UPDATE; raise KeystoreError when it is of another protocol."""
    init = parse_initialize_update(context.initialize_update, scp02_i=context.i)
    if init.scp != context.scp:
        raise KeystoreError(f"The card answered with SCP{init.scp:02}, not SCP{context.scp:02}.")
    return init


def wrapped(kek: Secret, keys: StaticKeys) -> bytes:
    """Wrap a key set under a transport key (RFC 3394)."""
    return aes_key_wrap(kek.reveal(), joined(keys))


def unwrapped(kek: Secret, blob: bytes) -> StaticKeys:
    """Open what `wrapped` made; raise KeyMaterialError when it was changed."""
    try:
        clear = aes_key_unwrap(kek.reveal(), blob)
    except (InvalidUnwrap, ValueError):
        raise KeyMaterialError(
            "A wrapped key set was changed, or wrapped under another key than this keystore's."
        ) from None
    return parted(clear)


def joined(keys: StaticKeys) -> bytes:
    """Return ENC ‖ MAC ‖ DEK."""
    return keys.enc.reveal() + keys.mac.reveal() + keys.dek.reveal()


def parted(clear: bytes) -> StaticKeys:
    """Return the key set of ENC ‖ MAC ‖ DEK; raise KeyMaterialError when it is none."""
    size, rest = divmod(len(clear), 3)
    if rest or size not in KEY_LENGTHS:
        raise KeyMaterialError("A stored key set does not hold three keys of equal length.")
    return StaticKeys(Secret(clear[:size]), Secret(clear[size : 2 * size]), Secret(clear[2 * size :]))
