"""Who hears of events in the contactless registry (Amendment C section 3.10), read from the PPSE."""

import pytest
from tests.unit.vse.test_vse_contactless import BANK, IDLE, ONE, TWO, TYPE_A, Wallet

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.tlv import encode_tlv, parse_tlv
from opentsm.card.gp import commands
from opentsm.card.gp.contactless import CRS_AID, PPSE_AID, Activation, ContactlessParameters, set_availability
from opentsm.card.gp.instructions import StatusTarget
from opentsm.vse.contactless import set_own_state
from opentsm.vse.contactless_events import Event, tell
from opentsm.vse.environment import Environment
from opentsm.vse.nvm import MemoryNvm

LISTENED = ContactlessParameters(activation=Activation.DEACTIVATED, add_listeners=(PPSE_AID,))
UNHEARD = ContactlessParameters(remove_listeners=(PPSE_AID,))


def told(wallet: Wallet) -> list[tuple[int, Aid]]:
    """The events that the PPSE was told since power came, the oldest first."""
    wallet.host.select(PPSE_AID)
    value = parse_tlv(wallet.host.raw("80CADF0200").data).value
    events = []
    while value:
        length = value[1]
        events.append((value[0], Aid(value[2 : 2 + length])))
        value = value[2 + length :]
    return events


def listening() -> Wallet:
    """A card where the PPSE is on the CREL list of ONE, and has heard nothing yet."""
    wallet = Wallet()
    assert wallet.add(ONE, LISTENED) == 0x9000
    wallet.host.card.power_on()
    assert told(wallet) == []
    return wallet


def update(wallet: Wallet, aid: Aid, parameters: ContactlessParameters) -> int:
    wallet.open()
    field = encode_tlv(0xEF, parameters.to_bytes())
    return wallet.host.sw(commands.install_for_registry_update(aid, parameters=field))


def test_listener_when_an_application_is_installed_activated_and_deactivated_is_told() -> None:
    wallet = Wallet()
    wallet.add(ONE, LISTENED)
    assert told(wallet) == [(0x11, ONE), (0x12, ONE)]
    assert wallet.crs(set_availability([ONE], activate=True)).sw == 0x9000
    assert wallet.crs(set_availability([ONE], activate=True)).sw == 0x9000
    assert wallet.crs(set_availability([ONE], activate=False)).sw == 0x9000
    assert told(wallet) == [(0x11, ONE), (0x12, ONE), (0x02, ONE), (0x82, ONE)]
    wallet.host.card.power_on()
    assert told(wallet) == []


def test_listener_when_it_is_on_no_list_or_no_longer_is_not_told() -> None:
    wallet = listening()
    wallet.add(TWO, IDLE)
    assert wallet.crs(set_availability([TWO], activate=True)).sw == 0x9000
    assert told(wallet) == []
    assert update(wallet, ONE, UNHEARD) == 0x9000
    wallet.crs(set_availability([ONE], activate=True))
    assert told(wallet) == []


def test_listener_when_the_application_is_locked_unlocked_and_deleted_is_told() -> None:
    wallet = listening()
    wallet.open()
    for state in (0x80, 0x00):
        wallet.host.ok(commands.set_status(StatusTarget.APPLICATION, state, ONE))
    wallet.host.ok(commands.delete(ONE))
    assert told(wallet) == [(0x13, ONE), (0x93, ONE), (0x14, ONE)]


def test_listener_when_a_load_file_goes_with_its_applications_is_told_of_each() -> None:
    wallet = listening()
    wallet.open()
    wallet.host.ok(commands.delete(BANK, related=True))
    assert told(wallet) == [(0x14, ONE)]


@pytest.mark.parametrize(
    ("parameters", "event"),
    [
        (ContactlessParameters(type_a=TYPE_A), 0x07),
        (ContactlessParameters(type_b=TYPE_A), 0x08),
        (ContactlessParameters(type_f=TYPE_A), 0x09),
        (ContactlessParameters(add_listeners=(TWO,)), 0x0E),
        (ContactlessParameters(activation=Activation.ACTIVATED), 0x02),
    ],
)
def test_listener_when_the_entry_is_updated_is_told_what_has_changed(
    parameters: ContactlessParameters, event: int
) -> None:
    wallet = listening()
    assert update(wallet, ONE, parameters) == 0x9000
    assert told(wallet) == [(event, ONE)]


@pytest.mark.parametrize(
    ("objects", "events"),
    [
        ("A10387012A", [0x0C]),
        ("A104A6020102", [0x05]),
        ("A1097F20065F500361622E", [0x04]),
        ("A1057F20026D00", [0x06]),
        ("A00384" + "0101", [0x0D]),
    ],
)
def test_listener_when_other_objects_change_is_told_once(objects: str, events: list[int]) -> None:
    wallet = listening()
    for _ in range(2):
        wallet.open()
        field = encode_tlv(0xEF, bytes.fromhex(objects))
        assert wallet.host.sw(commands.install_for_registry_update(ONE, parameters=field)) == 0x9000
    assert told(wallet) == [(event, ONE) for event in events]


def test_refused_update_when_it_would_have_changed_the_entry_tells_nobody() -> None:
    wallet = listening()
    wallet.open()
    field = encode_tlv(0xEF, ContactlessParameters(type_a=TYPE_A).to_bytes())
    unknown = Aid.from_hex("A0A0A0A0A0")
    command = commands.install_for_registry_update(ONE, new_sd=unknown, parameters=field)
    assert wallet.host.sw(command) == 0x6A88
    assert told(wallet) == []


def test_application_when_it_changes_its_own_state_is_told_nothing_itself() -> None:
    """Whoever causes an event is not told; the listeners are, then the CRS, then the application."""
    wallet = Wallet()
    wallet.add(ONE, LISTENED)
    image = wallet.host.card.image()
    environment = Environment(image, wallet.host.card.profile, MemoryNvm(), bytes)
    heard: list[tuple[Aid, int]] = []
    one, crs, ppse = (image.instance(aid) for aid in (ONE, CRS_AID, PPSE_AID))
    assert one is not None and crs is not None and ppse is not None
    for instance in (one, crs, ppse):
        name = Aid(instance.aid)
        applet = environment.applet(instance)
        applet.notify_contactless = (  # type: ignore[method-assign]
            lambda source, event, name=name: heard.append((name, event))  # type: ignore[misc]
        )
    set_own_state(environment, one, 0x80)
    assert heard == [(PPSE_AID, 0x81), (CRS_AID, 0x81)]
    heard.clear()
    tell(environment, one, [Event.LOCKED])
    assert heard == [(PPSE_AID, 0x13), (CRS_AID, 0x13), (ONE, 0x13)]
