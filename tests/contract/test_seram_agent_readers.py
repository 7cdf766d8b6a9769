"""Readers against cards: vpcd framing on a real socket, a recording, PC/SC without its software."""

import asyncio
from pathlib import Path

import pytest

from opentsm.agent.errors import ReaderError, ReaderMissingError
from opentsm.agent.readers import PcscReader, ReplayReader, TcpReader, read_recording
from opentsm.card.crypto.secret import Secret
from opentsm.cli.output import CliError
from opentsm.cli.readers import VirtualCardReader, open_reader
from opentsm.vse.card import CardIdentity, KeyMaterial, VirtualCard
from opentsm.vse.cards_on_disk import CardDirectory
from opentsm.vse.faults import FaultPlan
from opentsm.vse.nvm import MemoryNvm
from opentsm.vse.profiles import load_profile
from opentsm.vse.vpcd import VpcdEndpoint

TEST_KEY = Secret(bytes(range(0x40, 0x50)))
KEYS = KeyMaterial(TEST_KEY, TEST_KEY, TEST_KEY)
SELECT_ISD = bytes.fromhex("00A4040000")


def virtual_card() -> VirtualCard:
    """Issue a card in memory."""
    return VirtualCard.issue(load_profile("scp03-i70"), CardIdentity.from_serial(1), KEYS, MemoryNvm())


async def test_tcp_reader_and_virtual_reader_show_the_same_card() -> None:
    card = virtual_card()
    endpoint = VpcdEndpoint(card)
    tcp, direct = TcpReader("127.0.0.1", await endpoint.listen("127.0.0.1", 0)), VirtualCardReader(card)
    over_tcp = [await tcp.connect(), await tcp.transmit(SELECT_ISD)]
    await tcp.disconnect()
    assert [await direct.connect(), await direct.transmit(SELECT_ISD)] == over_tcp
    assert over_tcp[1].endswith(b"\x90\x00")
    await direct.disconnect()
    assert not card.is_powered
    await endpoint.close()


async def test_tcp_reader_torn_card_is_an_error_and_can_be_connected_again() -> None:
    card = virtual_card()
    endpoint = VpcdEndpoint(card)
    reader = TcpReader("127.0.0.1", await endpoint.listen("127.0.0.1", 0))
    atr = await reader.connect()
    card.arm(FaultPlan(cut_before_apdu=1))
    with pytest.raises(ReaderError, match="no answer"):
        await reader.transmit(SELECT_ISD)
    with pytest.raises(ReaderError, match="not connected"):
        await reader.transmit(SELECT_ISD)
    card.arm(FaultPlan())
    assert await reader.connect() == atr
    await reader.disconnect()
    await endpoint.close()


async def test_virtual_reader_torn_card_is_a_reader_error() -> None:
    card = virtual_card()
    reader = VirtualCardReader(card)
    await reader.connect()
    card.arm(FaultPlan(lose_answer=1))
    with pytest.raises(ReaderError, match="no answer"):
        await reader.transmit(SELECT_ISD)


async def test_tcp_reader_nobody_listens_is_an_error() -> None:
    with pytest.raises(ReaderError, match="no card listens on"):
        await TcpReader("127.0.0.1", 9).connect()


async def test_tcp_reader_late_answer_is_never_taken_for_the_next() -> None:
    got: list[bytes] = []

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x02\x3b\x00")
        got.append(await reader.readexactly(6))
        await reader.read()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader = TcpReader("127.0.0.1", port, answer_timeout_s=0.01)
        assert await reader.connect() == b"\x3b\x00"
        with pytest.raises(ReaderError, match="no answer"):
            await reader.transmit(SELECT_ISD)
        with pytest.raises(ReaderError, match="not connected"):
            await reader.transmit(SELECT_ISD)
        await reader.disconnect()
    assert got == [b"\x00\x01\x01\x00\x01\x04"]  # power on, then: give the ATR


async def test_replay_reader_follows_the_recording() -> None:
    recording = ["# a card", "ATR 3B 80 01", "", "> 00A4040000", "< 6F00 9000", "> 80CA006600", "< 6A88"]
    reader = ReplayReader(*read_recording(recording))
    assert await reader.connect() == bytes.fromhex("3B8001")
    assert await reader.transmit(SELECT_ISD) == bytes.fromhex("6F009000")
    with pytest.raises(ReaderError, match="has 80CA0066… as command 2, not 80500000…"):
        await reader.transmit(bytes.fromhex("8050000000"))
    await reader.transmit(bytes.fromhex("80CA006600"))
    with pytest.raises(ReaderError, match="ended"):
        await reader.transmit(SELECT_ISD)


@pytest.mark.parametrize(
    "recording", [["> 00"], ["< 9000"], ["> 00", "> 00"], ["> 0"], ["? 00"], ["> 00", "< 90", "< 90"]]
)
def test_recording_that_is_damaged_says_so(recording: list[str]) -> None:
    with pytest.raises(ReaderMissingError, match="recording"):
        read_recording(recording)


async def test_pcsc_reader_without_pyscard_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "smartcard", None)
    monkeypatch.setitem(__import__("sys").modules, "smartcard.System", None)
    with pytest.raises(ReaderMissingError, match=r"opentsm\[pcsc\]"):
        await PcscReader("ACR").connect()
    with pytest.raises(CliError, match="no reader pcsc:ACR"):
        open_reader("pcsc:ACR")


def test_open_reader_virtual_card_knows_its_identifier(tmp_path: Path) -> None:
    CardDirectory(tmp_path / "one").issue("scp03-i70", 7, KEYS)
    assert open_reader(f"vse:{tmp_path / 'one'}").se_id == "F04F54530000000000000007"
    assert open_reader("vpcd:127.0.0.1:35963").se_id is None


@pytest.mark.parametrize(
    "form", ["", "vse", "usb:1", "vpcd:host", "vpcd:host:99999", "vse:/nowhere", "replay:/nowhere"]
)
def test_open_reader_word_that_names_none_is_refused(form: str) -> None:
    with pytest.raises(CliError):
        open_reader(form)
