"""Targets of links: a reader's framing in front of the card, and the JSON that an agent is sent."""

import asyncio
import json
from collections.abc import Callable
from typing import cast

import msgspec

from opentsm.agent.errors import JournalError, LinkError, OrderError, ReaderMissingError
from opentsm.agent.http_exchange import Reply, decode, problem_of
from opentsm.agent.journal import Journal, MemoryStore
from opentsm.agent.messages import Device, HandshakeResponse, Session, Token, WireOrder, decode_json
from opentsm.agent.orders import read_order
from opentsm.agent.readers import read_recording
from opentsm.fuzz import card_seeds, desk
from opentsm.fuzz.card_promises import WatchedCard
from opentsm.fuzz.mutation import framed, mutate_commands
from opentsm.fuzz.target import Run, Target, all_of, refusing
from opentsm.vse.profiles import VseProfile
from opentsm.vse.vpcd import VpcdEndpoint


class _Writer:
    """Takes what the card answers; stands in for a socket."""

    def __init__(self) -> None:
        self.closed = False

    def write(self, data: bytes) -> None:
        """Take bytes."""

    def get_extra_info(self, name: str) -> None:
        """There is no socket."""

    async def drain(self) -> None:
        """There is always room."""

    def close(self) -> None:
        """Note the end."""
        self.closed = True


class _ServedCard:
    """A watched card as an endpoint wants it."""

    def __init__(self, opened: desk.Desk) -> None:
        self._card = opened.card
        self._watched = WatchedCard(opened.card, opened.nvm)

    @property
    def profile(self) -> VseProfile:
        """The kind of card."""
        return self._card.profile

    def power_on(self) -> bytes:
        """Reset the card."""
        return self._card.power_on()

    def power_off(self) -> None:
        """Take the power away."""
        self._card.power_off()

    def transmit(self, raw: bytes) -> bytes:
        """Answer one command; a card without power has no promise to keep."""
        return self._watched.transmit(raw) if self._card.is_powered else self._card.transmit(raw)


def _vpcd() -> Run:
    loop, image = asyncio.new_event_loop(), desk.stocked_image("scp03-i70")

    async def converse(data: bytes) -> None:
        reader, writer = asyncio.StreamReader(), _Writer()
        reader.feed_data(data)
        reader.feed_eof()
        endpoint = VpcdEndpoint(_ServedCard(desk.Desk.open(image)))
        await endpoint.converse(reader, cast(asyncio.StreamWriter, writer))
        if not writer.closed:
            raise AssertionError("the connection was left open")

    return lambda data: loop.run_until_complete(converse(data))


def _vpcd_seeds() -> tuple[bytes, ...]:
    controls = framed([b"\2", b"\4", b"\1"])
    return tuple(controls + seed[1:] + framed([b"\0"]) for seed in card_seeds.raw_inputs())


def _order(data: bytes) -> None:
    """Read an order in both versions, as the link does."""
    try:
        wire = decode_json(data, WireOrder)
    except msgspec.DecodeError:
        return
    for extended in (False, True):
        read_order(wire, extended=extended)


def _journal() -> Run:
    loop = asyncio.new_event_loop()
    return lambda data: loop.run_until_complete(_open_journal(data))


async def _open_journal(data: bytes) -> None:
    journal = await Journal.open(MemoryStore(data))
    journal.recorded(journal.highest)


def _replies() -> Run:
    kinds: tuple[type[Device | HandshakeResponse | Session | Token], ...] = (
        Device,
        HandshakeResponse,
        Session,
        Token,
    )
    reads: list[Callable[[bytes], object]] = [
        lambda data, kind=kind: decode(Reply(200, data, None), kind)  # type: ignore[misc]
        for kind in kinds
    ]
    return all_of(
        *[refusing(read, LinkError) for read in reads],
        refusing(lambda data: problem_of(Reply(400, data, None))),
        refusing(
            lambda data: read_recording(data.decode("utf-8", "replace").splitlines()), ReaderMissingError
        ),
        refusing(_journal(), JournalError),
        refusing(_order, OrderError),
    )


def _documents() -> tuple[bytes, ...]:
    command = {
        "ramCommandType": "seRamCommand",
        "listOfCAPDU": ["00A4040000", "80CA006600"],
        "listOfExpectations": [None, {"sw": ["9000", "61??"], "data": "6F00", "mask": "FF00"}],
    }
    order = {
        "delay": 100,
        "chosenSecureElement": {"seType": "eSE", "seId": "A1"},
        "ramCommands": [{"ramCommandType": "ramStartCommand"}, command, {"ramCommandType": "ramStopCommand"}],
        "orderSequence": 3,
        "ackSequence": 2,
        "orderValidity": 1000,
    }
    report = {"localAgentStatus": {"localAgentStatusEnum": "POLLING", "executedSeRamCommands": 0}}
    journal = {"format": 1, "highest": 3, "acknowledged": 1, "begun": 3, "reports": {"2": report}}
    handshake = {
        "chosenTransportProtocol": "HTTPS",
        "chosenVersion": "2.0.0",
        "chosenDataFormat": "application/json",
    }
    problem = {"title": "no", "detail": "sessionId=00112233445566778899AABBCCDDEEFF", "code": "x"}
    replies = ({"session_id": "0" * 32, "expires_in": 3}, {"token": "t", "expires_in": 1.5}, {"id": "d"})
    documents = [order, journal, handshake, problem, *replies]
    recording = b"ATR 3B 00\n# one\n> 00A4040000\n< 9000\n"
    return (*(json.dumps(document).encode() for document in documents), recording)


LINK_TARGETS = (
    Target("vpcd", "a reader's frames, with a card behind them", _vpcd, _vpcd_seeds, mutate_commands(0)),
    Target("agent-json", "a server's documents, the agent's journal, recordings", _replies, _documents),
)
