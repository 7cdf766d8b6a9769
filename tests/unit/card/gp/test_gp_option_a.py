"""Option A of EMV Book 2 A1.4.1, by a public vector.

Source: knovichikhin/pyemv, tests/test_cvn_hsm.py, test_visa_cvn18 (made on an HSM).
"""

import pytest

from opentsm.card.crypto.secret import Secret
from opentsm.card.errors import DiversificationError
from opentsm.card.gp.diversification import option_a

MASTER = Secret(bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"))
ACCOUNT = bytes.fromhex("3456789012345600")


def test_option_a_when_card_and_sequence_number_are_known_then_the_card_key_of_the_vector() -> None:
    assert option_a(MASTER, ACCOUNT) == Secret(bytes.fromhex("154F349D8585CB7F6B0798E9839B10C1"))


@pytest.mark.parametrize(("key", "account"), [(15, 8), (24, 8), (16, 7), (16, 9)])
def test_option_a_when_a_length_is_wrong_then_refused(key: int, account: int) -> None:
    with pytest.raises(DiversificationError):
        option_a(Secret(bytes(key)), bytes(account))
