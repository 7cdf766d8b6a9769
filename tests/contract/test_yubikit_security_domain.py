"""yubikit, a client written elsewhere, drives the security domain over TCP (vpcd framing) and real PC/SC.

Extended-length APDUs, level 33, empty command data enciphered too: so it treats every command.
"""

import pytest
from tests.contract.card_connections import Connect
from tests.contract.conftest import InsertCard
from tests.unit.vse.card_host import FACTORY_KEYS, make_card, make_keys
from yubikit.core.smartcard import ApduError
from yubikit.core.smartcard.scp import KeyRef, Scp03KeyParams, StaticKeys
from yubikit.securitydomain import SecurityDomainSession

from opentsm.card.gp.keys import StaticKeys as CardKeys

KID_SCP03 = 1


@pytest.fixture
def connect(insert_card: InsertCard) -> Connect:
    return insert_card(make_card())


def parameters(keys: CardKeys, kvn: int) -> Scp03KeyParams:
    return Scp03KeyParams(KeyRef(KID_SCP03, kvn), yubikit_keys(keys))


def yubikit_keys(keys: CardKeys) -> StaticKeys:
    return StaticKeys(keys.enc.reveal(), keys.mac.reveal(), keys.dek.reveal())


def open_session(connect: Connect, keys: CardKeys, kvn: int) -> SecurityDomainSession:
    session = SecurityDomainSession(connect())
    session.authenticate(parameters(keys, kvn))
    return session


def test_level_33_session_lists_keys_and_recognition_data(connect: Connect) -> None:
    """Cases 102, 103, 108, 141, 150, 160."""
    session = open_session(connect, FACTORY_KEYS, 0x30)
    information = session.get_key_information()
    assert information == {KeyRef(kid, 0x30): {0x88: 16} for kid in (1, 2, 3)}
    assert bytes.fromhex("2A864886FC6B01") in session.get_card_recognition_data()


def test_new_key_set_opens_a_session_and_can_be_deleted(connect: Connect) -> None:
    """Cases 109, 110, 118."""
    new = make_keys(0x61)
    session = open_session(connect, FACTORY_KEYS, 0x30)
    session.put_key(KeyRef(KID_SCP03, 0x31), yubikit_keys(new))

    under_new = open_session(connect, new, 0x31)
    assert KeyRef(3, 0x31) in under_new.get_key_information()

    again = open_session(connect, FACTORY_KEYS, 0x30)
    again.delete_key(kvn=0x31)
    assert KeyRef(1, 0x31) not in again.get_key_information()
    # yubikit's translation of 6A88.
    with pytest.raises(ValueError, match="Incorrect SCP parameters"):
        open_session(connect, new, 0x31)


def test_replaced_key_set_takes_the_place_of_the_old_one(connect: Connect) -> None:
    """Case 109."""
    new = make_keys(0x71)
    session = open_session(connect, FACTORY_KEYS, 0x30)
    session.put_key(KeyRef(KID_SCP03, 0x32), yubikit_keys(new), replace_kvn=0x30)
    assert set(open_session(connect, new, 0x32).get_key_information()) == {KeyRef(k, 0x32) for k in (1, 2, 3)}


def test_unauthenticated_put_key_is_refused(connect: Connect) -> None:
    session = SecurityDomainSession(connect())
    with pytest.raises(ApduError) as refused:
        session.delete_key(kvn=0x30)
    assert refused.value.sw == 0x6982
