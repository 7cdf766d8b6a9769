"""Bank card keys from an issuer master key: what the keystore port says about them."""

import pytest
from tests.contract.conftest import NewKeystore

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle

MASTER = KeyHandle("application/p/bank-ac")
# knovichikhin/pyemv, tests/test_cvn_hsm.py, test_visa_cvn18
KEY = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")


async def test_emv_card_key_when_derived_then_option_a(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("provider")
    await keystore.import_key(MASTER, Secret(KEY))
    derived = await keystore.derive_emv_card_key(MASTER, bytes.fromhex("3456789012345600"))
    assert derived == Secret(bytes.fromhex("154F349D8585CB7F6B0798E9839B10C1"))


async def test_emv_card_key_when_key_or_account_do_not_fit_then_refused(new_keystore: NewKeystore) -> None:
    keystore = await new_keystore("provider")
    with pytest.raises(KeystoreError):
        await keystore.derive_emv_card_key(MASTER, bytes(8))
    await keystore.import_key(MASTER, Secret(KEY))
    with pytest.raises(KeystoreError) as refused:
        await keystore.derive_emv_card_key(MASTER, bytes(7))
    assert KEY.hex() not in str(refused.value).lower()
