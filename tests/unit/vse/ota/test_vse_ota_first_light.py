"""One packet through all of it: AES, checksum and cipher, ENVELOPE, compact script, proof of receipt."""

import pytest
from tests.unit.vse.ota.ota_host import DES_SET, ISD_TAR, READ_ISD, OtaHost, make_card

from opentsm.card.gp.lifecycle import CardState
from opentsm.card.gp.responses import parse_status


@pytest.mark.parametrize("reference", [0x12, DES_SET], ids=["aes", "3des"])
def test_get_status_when_sent_over_the_air_answers_with_the_issuer_domain(reference: int) -> None:
    host = OtaHost(make_card(), kic=reference, kid=reference)
    por = host.por(READ_ISD.to_bytes())
    assert (por.status, por.tar, por.counter, por.authentic) == (0, ISD_TAR, 1, True)
    executed, sw, entries = por.data[0], por.data[1:3], por.data[3:]
    assert (executed, sw) == (1, bytes.fromhex("9000"))
    (isd,) = parse_status(entries, 0x80)
    assert (isd.aid.hex(), isd.state) == ("a000000151000000", CardState.SECURED)
