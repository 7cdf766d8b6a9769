"""Power cuts: a packet is carried out once or not at all, however often it is sent.

Source: ETSI TS 102 225 §5.1.4.
"""

import pytest
from tests.unit.vse.ota.ota_host import OtaHost, make_card

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import commands
from opentsm.card.gp.instructions import StoreDataEncryption, StoreDataStructure
from opentsm.card.ota.scp80 import ResponseStatus
from opentsm.vse.faults import FaultPlan, TornError
from opentsm.vse.nvm import MemoryNvm

NAME = encode_tlv(0x5F50, b"https://example.org/1")
STORE = commands.store_data(NAME, 0, last=True, encryption=StoreDataEncryption.NONE,
                            structure=StoreDataStructure.BER_TLV)  # fmt: skip


def stored(asked: OtaHost) -> bool:
    return 0x5F50 in asked.card.image().isd.domain_data().objects


def restart(asked: OtaHost) -> None:
    asked.card.arm(FaultPlan())
    asked.card.power_on()


def test_packet_when_power_goes_before_its_counter_is_written_can_be_sent_again() -> None:
    asked = OtaHost(make_card())
    packet = asked.packet(STORE.to_bytes())
    asked.card.arm(FaultPlan(cut_before_write=1))
    with pytest.raises(TornError):
        asked.deliver(packet)
    restart(asked)
    assert not stored(asked)
    assert asked.opened(asked.deliver(packet).data).status == 0
    assert stored(asked)


@pytest.mark.parametrize("plan", [FaultPlan(cut_after_write=1), FaultPlan(cut_before_write=2)])
def test_packet_when_power_goes_between_counter_and_execution_never_runs(plan: FaultPlan) -> None:
    asked = OtaHost(make_card())
    packet = asked.packet(STORE.to_bytes())
    asked.card.arm(FaultPlan(cut_after_write=plan.cut_after_write, cut_before_write=plan.cut_before_write))
    with pytest.raises(TornError):
        asked.deliver(packet)
    restart(asked)
    assert asked.opened(asked.deliver(packet).data).status == ResponseStatus.COUNTER_LOW
    assert not stored(asked)
    assert asked.run(STORE).sw in {0x9000, 0x6101}
    assert stored(asked)


def test_packet_when_power_goes_after_execution_is_not_run_again() -> None:
    asked = OtaHost(make_card())
    packet = asked.packet(STORE.to_bytes())
    asked.card.arm(FaultPlan(cut_after_write=2))
    with pytest.raises(TornError):
        asked.deliver(packet)
    restart(asked)
    assert stored(asked)
    assert asked.opened(asked.deliver(packet).data).status == ResponseStatus.COUNTER_LOW


def test_packet_when_its_answer_is_lost_is_not_run_again() -> None:
    asked = OtaHost(make_card())
    packet = asked.packet(STORE.to_bytes())
    asked.card.arm(FaultPlan(lose_answer=1))
    with pytest.raises(TornError):
        asked.deliver(packet)
    asked.card.arm(FaultPlan())
    assert asked.opened(asked.deliver(packet).data).status == ResponseStatus.COUNTER_LOW


def test_commands_of_a_script_when_power_goes_between_them_stay_as_far_as_they_ran() -> None:
    """Each remote APDU is atomic, the script is not: the server reads before it goes on."""
    asked = OtaHost(make_card())
    url = encode_tlv(0x5F50, b"two")
    second = CommandApdu(0x80, 0xE2, 0x90, 0x00, url)
    asked.card.arm(FaultPlan(cut_before_write=3))
    with pytest.raises(TornError):
        asked.deliver(asked.packet(STORE.to_bytes() + second.to_bytes()))
    restart(asked)
    assert asked.card.image().isd.domain_data().objects[0x5F50] == b"https://example.org/1"


def test_counter_when_the_card_is_restarted_is_kept() -> None:
    nvm = MemoryNvm()
    asked = OtaHost(make_card(nvm=nvm))
    asked.run(STORE)
    restart(asked)
    assert asked.opened(asked.deliver(asked.sent).data).status == ResponseStatus.COUNTER_LOW


def test_load_when_power_goes_between_packets_must_be_begun_again() -> None:
    asked = OtaHost(make_card())
    asked.ok(commands.install_for_load(Aid.from_hex("F001020304"), None))
    restart(asked)
    (block,) = commands.load_blocks(bytes(50), block_size=200)
    assert asked.run(block).sw == 0x6985
