"""One door to both protocols: open a channel, or predict a card's answer, by what the card says it speaks.

Source: GPCS 2.3.1 §10; Amendment D 1.1.1.
"""

from opentsm.card.errors import SecureChannelError
from opentsm.card.gp.keys import Dek, KeyType
from opentsm.card.scp import scp02, scp03
from opentsm.card.scp.channel import InitializeUpdateResponse, SecureChannel, SessionKeys, StaticKeys


def derive_session_keys(
    static: StaticKeys, init: InitializeUpdateResponse, host_challenge: bytes
) -> SessionKeys:
    """Derive the session keys for the protocol of the card's answer.

    Raises:
        KeyFormatError: the keys do not fit the protocol.
    """
    if init.scp == 2:
        return scp02.derive_session_keys(static, init.sequence_counter or 0)
    return scp03.derive_session_keys(static, host_challenge, init.card_challenge)


def open_channel(keys: SessionKeys, init: InitializeUpdateResponse, host_challenge: bytes) -> SecureChannel:
    """Check the card and make the channel for the protocol of its answer.

    Raises:
        CardCryptogramError: the card cryptogram is wrong.
        SecureChannelError: a variant that is not supported.
    """
    if init.scp == 2:
        i = 0x15 if init.i is None else init.i
        return scp02.Scp02Channel(keys, init, host_challenge, i=i)
    return scp03.Scp03Channel(keys, init, host_challenge)


def session_dek(keys: SessionKeys, init: InitializeUpdateResponse) -> Dek:
    """Return the key that encrypts other keys in this session."""
    return Dek(keys.dek, KeyType.DES if init.scp == 2 else KeyType.AES)


def predict_initialize_update(
    static: StaticKeys,
    *,
    scp: int,
    i: int,
    kdd: bytes,
    kvn: int,
    counter: int,
    aid: bytes,
    host_challenge: bytes,
) -> InitializeUpdateResponse:
    """Compute the answer of a card with pseudo-random challenges before it is asked.

    Args:
        static: the key set.
        scp: 2 or 3.
        i: implementation option.
        kdd: 10 bytes of key diversification data.
        kvn: key version number of the set.
        counter: of the coming session: GET DATA C1 plus one for SCP03, as it is for SCP02.
        aid: of the application that will be asked.
        host_challenge: 8 bytes, SCP03 with S16: 16 bytes.

    Raises:
        SecureChannelError: unknown protocol, or a variant with random challenges.
    """
    if scp not in (2, 3):
        raise SecureChannelError(f"SCP{scp:02X} is not supported")
    predict = scp02.predict_initialize_update if scp == 2 else scp03.predict_initialize_update
    return predict(static, kdd=kdd, kvn=kvn, i=i, counter=counter, aid=aid, host_challenge=host_challenge)
