"""Cards, each with a service of its own and one agent for all, on which operations are interrupted.

In a wave every card runs the same operation, and each is held at another C-APDU. When all are held, one
process is killed: a single kill is a kill at every one of these points.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final

import httpx
from tests.e2e.crash_processes import Agent, Server
from tests.e2e.crash_reader import CrashReader, Moment, Point

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp import commands as gp
from opentsm.demo import parties
from opentsm.demo.cards import DemoCard, MasterKey, issue_card, new_masters
from opentsm.demo.errors import ApiError
from opentsm.demo.http_api import Json, open_client
from opentsm.demo.services import TRANSIT, Service, Shelf

PROFILE: Final = "scp03-i70"
AMOUNT: Final = 1500
HELD_S: Final = 120.0
ENDED_S: Final = 180.0
SERVER_ERROR: Final = 500
_ENDED: Final = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})
_SELECT: Final = 0xA4


class Phase(Enum):
    """An operation that is interrupted."""

    DEPLOYMENT = "deployment"
    TOP_UP = "top-up"
    KEY_ROTATION = "key rotation"


class Victim(Enum):
    """What is killed."""

    SERVER = "server"
    AGENT = "agent"
    DATABASE = "database"
    BACKENDS = "database backends"


@dataclass(slots=True)
class Station:
    """The server with its parties and the published service, all made through the public API."""

    server: Server
    client: httpx.AsyncClient
    parties: parties.Parties
    service: Service
    masters: dict[int, MasterKey]

    @classmethod
    @asynccontextmanager
    async def open(cls, directory: Path) -> AsyncIterator["Station"]:
        """Start the server; at the end it stops in order."""
        server = Server(directory)
        await server.serve()
        try:
            async with open_client(server.base_url) as client:
                known = await parties.register_parties(client, server.token, names="Crash")
                masters = new_masters()
                await parties.import_master(known.issuer, masters[3])
                shelf = Shelf(known.provider_door)
                load_file, recipe = await shelf.upload_load_file(TRANSIT), await shelf.upload_recipe(TRANSIT)
                service = await shelf.publish(replace(TRANSIT, nfc=False), load_file, recipe, [PROFILE])
                yield cls(server, client, known, service, masters)
        finally:
            await server.stop()

    async def ended(self, operation: Json) -> Json:
        """Follow an operation to its end, through all the server's troubles."""
        async with asyncio.timeout(ENDED_S):
            while operation["state"] not in _ENDED:
                try:
                    operation = await self.server.meanwhile(self.parties.provider.follow(operation))
                except ApiError as error:
                    if 0 < error.status < SERVER_ERROR:
                        raise
        return operation


@dataclass(slots=True)
class Case:
    """One card, and what must be on it."""

    card: DemoCard
    reader: CrashReader
    factory: frozenset[bytes]
    instance_id: str = ""
    balance: int = 0
    kvn: int = 0

    def ask(self, command: CommandApdu) -> ResponseApdu:
        """Send a command past reader and agent."""
        return ResponseApdu.parse(self.card.card.transmit(command.to_bytes()))

    def content(self) -> set[bytes]:
        """Return the AIDs of load files and instances."""
        image = self.card.card.image()
        return {one.aid for one in image.instances} | {one.aid for one in image.load_files}


@dataclass(slots=True)
class Fleet:
    """Fresh cards with their agent."""

    station: Station
    cases: list[Case]
    agent: Agent

    @classmethod
    @asynccontextmanager
    async def open(cls, station: Station, directory: Path, size: int) -> AsyncIterator["Fleet"]:
        """Make cards, register them and start an agent for them; at the end it stops in order."""
        cases = [await _case(station) for _ in range(size)]
        code = await parties.enrolment_code(station.parties.issuer)
        words = ["--server", station.server.base_url, "--enrol", code]
        for case in cases:
            words += ["--reader", f"vpcd:127.0.0.1:{case.reader.port}", "--se", f"eSE:{case.card.se_id}"]
        agent = Agent(directory, words)
        await agent.run()
        try:
            yield cls(station, cases, agent)
        finally:
            for case in cases:
                case.reader.go_on()  # an agent ends after its running order
            await agent.stop()
            for case in cases:
                await case.reader.close()

    async def run(self, phase: Phase, points: Sequence[Point] = (), victim: Victim | None = None) -> None:
        """Run an operation on every card, kill the victim when all cards are held, and look at the cards.

        Args:
            phase: the operation.
            points: where to hold the first cards; the others are not held.
            victim: what to kill; None for an undisturbed run.
        """
        held = list(zip(self.cases, points, strict=False))
        for case in self.cases:
            case.reader.hold_at(None)
        for case, point in held:
            case.reader.hold_at(point)
        operations = [await self._request(phase, case) for case in self.cases]
        if victim is not None:
            await self._all_held(held)
            await self._kill(victim)
        ended = await self.agent.meanwhile(asyncio.gather(*map(self.station.ended, operations)))
        names = {id(case): f"{victim and victim.value} killed {point}" for case, point in held}
        for case, operation in zip(self.cases, ended, strict=True):
            where = f"{phase.value}, {names.get(id(case), 'not held')}"
            assert operation["state"] == "SUCCEEDED", f"{where}: {operation['failure']}"
            await self._look(phase, case, where)

    async def _request(self, phase: Phase, case: Case) -> Json:
        provider = self.station.parties.provider
        if phase is Phase.DEPLOYMENT:
            data = {"label": "TRANSIT", "limit": "1000000"}
            body = {"service_id": self.station.service.id, "se_id": case.card.id, "data": data}
            answer: Json = await provider.post("/v1/instances", body)
            case.instance_id = answer["instance"]["id"]
            return dict(answer["operation"])
        path = f"/v1/instances/{case.instance_id}"
        if phase is Phase.TOP_UP:
            case.balance += AMOUNT
            return dict(await provider.post(f"{path}/top-ups", {"amount": AMOUNT}))
        return dict(await provider.post(f"{path}/key-rotations"))

    async def _all_held(self, held: Sequence[tuple[Case, Point]]) -> None:
        waits = {asyncio.ensure_future(case.reader.reached.wait()) for case, _ in held}
        done, late = await self.agent.meanwhile(asyncio.wait(waits, timeout=HELD_S))
        for wait in late:
            wait.cancel()
        missed = [str(point) for case, point in held if not case.reader.reached.is_set()]
        assert len(done) == len(held), f"never held: {', '.join(missed)}"

    async def _kill(self, victim: Victim) -> None:
        server = self.station.server
        match victim:
            case Victim.AGENT:
                await self.agent.kill()
                for case in self.cases:
                    case.reader.drop()
                await self.agent.run()
            case Victim.SERVER:
                await server.kill()
                self._go_on()
                await server.serve()
            case Victim.DATABASE:
                await server.kill_database(self._go_on)
            case Victim.BACKENDS:
                await server.kill_backends(self._go_on)

    def _go_on(self) -> None:
        for case in self.cases:
            case.reader.go_on()

    async def _look(self, phase: Phase, case: Case, where: str) -> None:
        """The card holds exactly the desired content, and the server knows it."""
        service, card = self.station.service, case.card.card
        wanted = {service.sd_aid, service.kind.instance, service.kind.package}
        assert case.content() - case.factory == {bytes.fromhex(aid) for aid in wanted}, where
        instances = {one.aid: one for one in card.image().instances}
        domain = instances[bytes.fromhex(service.sd_aid)].domain
        assert domain is not None
        (kvn,) = {key.kvn for key in domain.keys}
        assert phase is Phase.DEPLOYMENT or (kvn != case.kvn) is (phase is Phase.KEY_ROTATION), where
        case.kvn = kvn
        card.power_off()
        card.power_on()
        assert case.ask(gp.select(Aid.from_hex(service.kind.instance))).sw == 0x9000, where
        assert int.from_bytes(case.ask(purse.get_balance()).data, "big") == case.balance, where
        parties = self.station.parties
        instance = await parties.provider.get(f"/v1/instances/{case.instance_id}")
        assert instance["state"] == "OPERATIONAL", where
        shown = await parties.issuer.get(f"/v1/secure-elements/{case.card.id}/content")
        known = {bytes.fromhex(one["aid"]): one["state"] for one in shown["objects"]}
        there = {aid: one.state for aid, one in instances.items()}
        assert {aid: known.get(aid) for aid in there} == there, where


async def _case(station: Station) -> Case:
    card = issue_card("crash", PROFILE, station.masters)
    await parties.register_card(station.parties.issuer, card)
    reader = CrashReader(card.card)
    await reader.listen()
    made = Case(card, reader, frozenset())
    made.factory = frozenset(made.content())
    return made


def every_point(headers: Sequence[bytes]) -> list[Point]:
    """Return all points of an operation."""
    return [Point(number, moment) for number in range(1, len(headers) + 1) for moment in Moment]


def session_ends(headers: Sequence[bytes]) -> list[Point]:
    """Return the points before the first and after the last C-APDU of each session of an operation.

    Args:
        headers: of an undisturbed run; each session begins with SELECT.
    """
    firsts = [number for number, header in enumerate(headers, 1) if header[1] == _SELECT]
    lasts = [*(number - 1 for number in firsts[1:]), len(headers)]
    points = [Point(number, Moment.BEFORE) for number in firsts]
    return points + [Point(number, Moment.AFTER) for number in lasts]
