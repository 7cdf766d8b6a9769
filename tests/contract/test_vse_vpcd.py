"""The card on the wire: vpcd framing, listening and connecting, seen through the agent's TCP reader."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.unit.vse.card_host import make_card

from opentsm.agent.errors import ReaderError
from opentsm.agent.readers import TcpReader
from opentsm.vse.faults import FaultPlan
from opentsm.vse.vpcd import VpcdEndpoint

SELECT = bytes.fromhex("00A4040000")
ATR = bytes.fromhex("3B80800101")


@asynccontextmanager
async def served(endpoint: VpcdEndpoint) -> AsyncIterator[int]:
    port = await endpoint.listen("127.0.0.1", 0)
    try:
        yield port
    finally:
        await endpoint.close()


async def test_reader_powers_resets_and_transmits() -> None:
    async with served(VpcdEndpoint(make_card())) as port:
        reader = TcpReader("127.0.0.1", port)
        assert await reader.connect() == ATR
        assert (await reader.transmit(SELECT))[-2:] == b"\x90\x00"
        assert await reader.connect() == ATR
        await reader.disconnect()


async def test_end_of_a_connection_takes_the_power() -> None:
    card = make_card()
    async with served(VpcdEndpoint(card)) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x01\x01\x00\x05" + SELECT)
        assert len(await reader.readexactly(2)) == 2
        assert card.is_powered
        writer.close()
        await writer.wait_closed()
        # Without a power-on of its own the next connection finds a dead card.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x05" + SELECT)
        assert await reader.readexactly(4) == b"\x00\x02\x6f\x00"
        writer.close()


async def test_close_when_a_reader_is_connected_then_its_conversation_has_ended() -> None:
    card = make_card()
    tasks = asyncio.all_tasks()
    async with served(VpcdEndpoint(card)) as port:
        reader = TcpReader("127.0.0.1", port)
        await reader.connect()
        assert asyncio.all_tasks() > tasks
    assert asyncio.all_tasks() == tasks
    assert not card.is_powered


async def test_newest_reader_has_the_card() -> None:
    async with served(VpcdEndpoint(make_card())) as port:
        old, new = TcpReader("127.0.0.1", port), TcpReader("127.0.0.1", port)
        await old.connect()
        await new.connect()
        assert (await new.transmit(SELECT))[-2:] == b"\x90\x00"
        with pytest.raises(ReaderError):
            await old.transmit(SELECT)


async def test_power_cut_shows_as_a_lost_connection() -> None:
    card = make_card()
    card.arm(FaultPlan(cut_before_apdu=2))
    async with served(VpcdEndpoint(card)) as port:
        reader = TcpReader("127.0.0.1", port)
        await reader.connect()
        await reader.transmit(SELECT)
        with pytest.raises(ReaderError):
            await reader.transmit(SELECT)
        assert not card.is_powered
        await reader.connect()
        assert (await reader.transmit(SELECT))[-2:] == b"\x90\x00"


async def test_card_connects_to_vpcd() -> None:
    answers: list[bytes] = []

    async def vpcd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for payload, answered in ((b"\x04", True), (b"\x01", False), (b"\x02", False), (SELECT, True)):
            writer.write(len(payload).to_bytes(2, "big") + payload)
            if answered:
                length = int.from_bytes(await reader.readexactly(2), "big")
                answers.append(await reader.readexactly(length))
        writer.close()

    server = await asyncio.start_server(vpcd, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        await VpcdEndpoint(make_card()).connect("127.0.0.1", port)
    assert answers[0] == ATR
    assert answers[1][-2:] == b"\x90\x00"


async def test_payload_of_unknown_control_code_is_ignored() -> None:
    async with served(VpcdEndpoint(make_card())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x00\x01\x77\x00\x01\x04")
        assert await reader.readexactly(2 + len(ATR)) == b"\x00\x05" + ATR
        writer.close()
