"""`opentsm card --reader pcsc:NAME` as a process of its own, behind the real PC/SC service."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.unit.vse.card_host import FACTORY_KEYS, make_card

from opentsm.card.gp.keys import StaticKeys
from opentsm.vse.card import VirtualCard

if TYPE_CHECKING:
    from tests.contract.pcsc_stack import PcscStack

READER = "opentsm test 00 01"
INITIALIZE_UPDATE = 0x50


class Recorder:
    """A card that keeps the instruction bytes that it was sent."""

    def __init__(self, card: VirtualCard) -> None:
        self._card = card
        self.profile = card.profile
        self.power_on = card.power_on
        self.power_off = card.power_off
        self.instructions: list[int] = []

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command."""
        self.instructions.append(raw[1])
        return self._card.transmit(raw)


def keys_file(directory: Path) -> Path:
    parts = {"enc": FACTORY_KEYS.enc, "mac": FACTORY_KEYS.mac, "dek": FACTORY_KEYS.dek}
    file = directory / "keys.json"
    file.write_text(json.dumps({name: key.reveal().hex() for name, key in parts.items()} | {"kvn": "30"}))
    file.chmod(0o600)
    return file


def tool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "opentsm.cli", "card", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_list_when_the_card_is_in_a_pcsc_reader_then_its_registry_is_shown(
    pcsc_stack: "PcscStack", tmp_path: Path
) -> None:
    pcsc_stack.slots[1].card = make_card()
    done = tool("list", "--reader", f"pcsc:{READER}", "--keys", str(keys_file(tmp_path)), "--json")
    assert done.returncode == 0, done.stderr
    aids = {entry["aid"]: entry for entry in json.loads(done.stdout)["registry"]}
    assert {"A000000151000000", "A0000001515350"} <= aids.keys()


def test_list_when_the_keys_are_wrong_then_it_stops_before_external_authenticate(
    pcsc_stack: "PcscStack", tmp_path: Path
) -> None:
    card = make_card(keys=StaticKeys(FACTORY_KEYS.mac, FACTORY_KEYS.enc, FACTORY_KEYS.dek))
    pcsc_stack.slots[1].card = recorder = Recorder(card)
    done = tool("list", "--reader", f"pcsc:{READER}", "--keys", str(keys_file(tmp_path)))
    assert done.returncode != 0
    assert "cryptogram" in done.stderr
    assert recorder.instructions[-1] == INITIALIZE_UPDATE


def test_list_when_no_reader_has_the_name_then_those_present_are_named(
    pcsc_stack: "PcscStack", tmp_path: Path
) -> None:
    assert pcsc_stack.slots
    done = tool("list", "--reader", "pcsc:no such reader", "--keys", str(keys_file(tmp_path)))
    assert done.returncode != 0
    assert "OpenTSM test 00 00, OpenTSM test 00 01" in done.stderr
