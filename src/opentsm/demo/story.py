"""The story: two services from upload to the cards, at work, suspended, resumed, moved on, and gone again.

Everything is asked for through the public HTTP APIs; everything is verified on the cards (`verification`).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from opentsm.demo import phone
from opentsm.demo import verification as verify
from opentsm.demo.cards import DemoCard
from opentsm.demo.central.arranging import KINDS
from opentsm.demo.central.chapter import CentralPath
from opentsm.demo.counters import Shop, Station, money
from opentsm.demo.errors import DemoError
from opentsm.demo.http_api import Json
from opentsm.demo.issuer_session import CardReading, read_card, require_same
from opentsm.demo.operations import Operations
from opentsm.demo.parties import (
    ApplicationKeys,
    Parties,
    enrolment_code,
    import_master,
    register_card,
    register_parties,
)
from opentsm.demo.services import BANK, TRANSIT, Service, ServiceKind, Shelf
from opentsm.demo.stage import Stage, open_stage
from opentsm.demo.teller import Teller

PROFILES: Final = ("scp03-nfc-i70", "scp02-nfc-i55")
ARRANGED: Final = tuple(kind.profile for kind in KINDS)
STEPS: Final = 90
PRICE, TOP_UP, FARE = 1995, 2000, 240


@dataclass(frozen=True, slots=True)
class Deployed:
    """A service on a card."""

    instance_id: str
    service: Service
    card: DemoCard

    @property
    def objects(self) -> tuple[str, str, str]:
        """What it put on the card: security domain, load file, application."""
        return self.service.sd_aid, self.service.kind.package, self.service.kind.instance


@dataclass(slots=True)
class Story:
    """Plays the story on a stage."""

    stage: Stage
    teller: Teller
    parties: Parties
    keys: ApplicationKeys
    operations: Operations
    beginning: dict[str, CardReading] = field(default_factory=dict)
    ending: dict[str, CardReading] = field(default_factory=dict)
    services: dict[str, Service] = field(default_factory=dict)
    deployed: list[Deployed] = field(default_factory=list)
    central: CentralPath = field(init=False)

    def __post_init__(self) -> None:
        """Leave the arranged cards to their own chapter."""
        arranged = self.stage.cards[len(PROFILES) :]
        self.central = CentralPath(self.teller, self.parties, self.operations, self.stage.central, arranged)

    @property
    def cards(self) -> tuple[DemoCard, ...]:
        """The cards that their issuer manages alone."""
        return tuple(self.stage.cards[: len(PROFILES)])

    async def play(self) -> None:
        """Play it; every step that is told has been verified.

        Raises:
            DemoError: a step failed.
        """
        first, second = self.cards
        await self.register()
        await self.offer_services()
        self.teller.chapter("First contact")
        for card in self.cards:
            await self.audit(card)
        self.teller.chapter(f"Two services on {first.name} ({first.profile.name})")
        await self.live_on(first)
        self.teller.chapter(f"The same services, the same life, on {second.name} ({second.profile.name})")
        await self.live_on(second)
        await self.central.play()
        await self.terminate_all()

    async def live_on(self, card: DemoCard) -> None:
        """Deploy both services on a card and use, suspend and resume them."""
        bank, transit = await self.deploy(BANK, card), await self.deploy(TRANSIT, card)
        await self.audit(card)
        await self.ask_the_phone(card)
        await self.go_shopping(card)
        await self.travel(transit)
        await self.suspend_and_resume(bank)

    async def register(self) -> None:
        """Register cards and the device that carries orders to them."""
        self.teller.chapter("The issuer")
        for card in self.cards:
            with self.teller.doing(f"the issuer reads {card.name} with its own keys, past the TSM") as notes:
                reading = self.beginning[card.name] = await read_card(card)
                notes.append(f"{len(reading.entries)} objects, {reading.free_memory} bytes free")
        issuer = self.parties.issuer
        with self.teller.doing("the issuer imports its master keys (in place of a key ceremony)"):
            for master in self.stage.masters.values():
                await import_master(issuer, master)
        for card in self.cards:
            with self.teller.doing(f"the issuer registers {card.name}") as notes:
                await register_card(issuer, card)
                notes.append(f"profile {card.profile.name}, keys by {card.master.method.name}")
        await self.central.register()
        with self.teller.doing("a device enrols with a one-time code; its agent serves all cards"):
            await self.stage.start_agent(await enrolment_code(issuer))

    async def offer_services(self) -> None:
        """Let the provider upload and publish."""
        self.teller.chapter("The service provider")
        with self.teller.doing("the provider brings the keys that its bank and terminals use"):
            await self.keys.give_to(self.parties.provider)
        shelf = Shelf(self.parties.provider_door)
        for kind in (BANK, TRANSIT):
            with self.teller.doing(f"the provider uploads {kind.load_file}") as notes:
                load_file = await shelf.upload_load_file(kind)
                notes.append(f"package {load_file['aid']}")
            with self.teller.doing(f"the provider publishes «{kind.name}»") as notes:
                recipe = await shelf.upload_recipe(kind)
                service = await shelf.publish(kind, load_file, recipe, PROFILES)
                self.services[kind.name] = service
                notes.append(f"security domain {service.sd_aid}")

    async def deploy(self, kind: ServiceKind, card: DemoCard) -> Deployed:
        """Deploy a service and look for all of it on the card."""
        service = self.services[kind.name]
        body = {"service_id": service.id, "se_id": card.id, "data": _personal_data(kind)}
        instance_id = ""

        async def request() -> Json:
            nonlocal instance_id
            answer: Json = await self.parties.provider.post("/v1/instances", body)
            instance_id = answer["instance"]["id"]
            operation: Json = answer["operation"]
            return operation

        await self._run(f"deploy «{kind.name}» on {card.name}", card, request(), kind)
        deployed = Deployed(instance_id, service, card)
        verify.require_present(card, deployed.objects)
        self.deployed.append(deployed)
        return deployed

    async def audit(self, card: DemoCard) -> None:
        """Let the TSM read the card, and compare with the card's memory."""
        issuer = self.parties.issuer
        request = issuer.post(f"/v1/secure-elements/{card.id}/audits")
        await self.operations.run(f"the TSM audits {card.name}", issuer, card, request)
        with self.teller.doing(f"the card's memory and the TSM's picture of {card.name} agree") as notes:
            shown = await verify.require_agreement(issuer, card)
            notes.append(f"{len(shown['objects'])} objects, {shown['free_memory']} bytes free")

    async def ask_the_phone(self, card: DemoCard) -> None:
        """Let the phone decide which of its apps may use the bank card, by the rules on the card."""
        text = f"the phone with {card.name} lets the bank's app use the bank card, and no other app"
        with self.teller.doing(text) as notes:
            notes.append(await phone.lets_only_its_app_in(card))

    async def go_shopping(self, card: DemoCard) -> None:
        """Pay with the bank card."""
        with self.teller.doing(f"a POS reads the bank card on {card.name} through the PPSE") as notes:
            notes.append(await Shop(self.keys).sell(card, PRICE))

    async def travel(self, transit: Deployed) -> None:
        """Top the purse up and pass a gate."""
        station, card = Station(self.keys), transit.card
        with self.teller.doing(f"a gate stays shut for the empty purse on {card.name}") as notes:
            notes.append(await station.stays_shut(card, FARE))
        top_up = {"amount": TOP_UP, "transaction": secrets.token_hex(8).upper()}
        path = f"/v1/instances/{transit.instance_id}/top-ups"
        request = self.parties.provider.post(path, top_up)
        await self._run(
            f"a kiosk tops the purse on {card.name} up by {money(TOP_UP)}", card, request, TRANSIT
        )
        with self.teller.doing(f"the kiosk finds the top-up in the log of {card.name}, once") as notes:
            notes.append(await station.credited_once(card, top_up))
        with self.teller.doing(f"the gate debits the purse on {card.name} and opens") as notes:
            notes.append(await station.passes(card, FARE))
        with self.teller.doing(f"the kiosk reads balance and log on {card.name}") as notes:
            notes.append(await station.shows(card, TOP_UP - FARE))

    async def suspend_and_resume(self, bank: Deployed) -> None:
        """Suspend the bank card, see it gone, resume it, see it back."""
        self.teller.chapter(f"{bank.card.name}: lost and found")
        shop, card = Shop(self.keys), bank.card
        await self._change(bank, "suspensions", f"suspend «Bank card» on {card.name}")
        verify.require_locked(card, BANK.instance)
        with self.teller.doing(f"the POS no longer finds the bank card on {card.name}") as notes:
            notes.append(await shop.is_turned_away(card))
        with self.teller.doing(f"the phone with {card.name} lets no app use it any more") as notes:
            notes.append(await phone.lets_nobody_in(card))
        await self._change(bank, "resumptions", f"resume «Bank card» on {card.name}")
        verify.require_present(card, [BANK.instance])
        with self.teller.doing(f"the POS takes the bank card on {card.name} again") as notes:
            notes.append(await shop.sell(card, PRICE))

    async def terminate_all(self) -> None:
        """Terminate everything; the cards must be as they were at the beginning."""
        self.teller.chapter("The end")
        for one in self.deployed:
            text = f"terminate «{one.service.kind.name}» on {one.card.name}"
            await self._change(one, "terminations", text)
            verify.require_absent(one.card, one.objects)
        for card in self.cards:
            await self.audit(card)
        for card in self.cards:
            text = f"the issuer reads {card.name} again: registry and memory are as at the beginning"
            with self.teller.doing(text) as notes:
                reading = self.ending[card.name] = await read_card(card)
                require_same(card, self.beginning[card.name], reading, "at the beginning")
                notes.append(f"{len(reading.entries)} objects, {reading.free_memory} bytes free")

    async def _change(self, one: Deployed, change: str, text: str) -> None:
        request = self.parties.provider.post(f"/v1/instances/{one.instance_id}/{change}", {})
        await self._run(text, one.card, request, one.service.kind)

    async def _run(self, text: str, card: DemoCard, request: Awaitable[Json], kind: ServiceKind) -> None:
        await self.operations.run(text, self.parties.provider, card, request, service=kind.name)

    def document(self, seconds: float) -> Json:
        """Return the story as one JSON document."""
        return {
            "verified": True,
            "duration_ms": round(seconds * 1000),
            "operations": self.operations.documents,
            "cards": [
                {
                    "id": card.id,
                    "name": card.name,
                    "profile": card.profile.name,
                    "free_memory": self.ending[card.name].free_memory,
                    "registry": self.ending[card.name].rows(),
                }
                for card in self.cards
            ],
            "arranged_cards": self.central.rows(),
        }


async def tell(program: Sequence[str], teller: Teller) -> Json:
    """Set the stage, play the story, clear the stage.

    Args:
        program: the command that runs our command line.
        teller: tells it.

    Returns:
        The JSON document of the story.

    Raises:
        DemoError: a step failed; its `step` says which.
    """
    begun = monotonic()
    try:
        with teller.doing(
            "a TSM server with an embedded PostgreSQL starts; four virtual SEs are issued"
        ) as notes:
            opening = open_stage(program, PROFILES + ARRANGED)
            stage = await opening.__aenter__()
            notes.append(stage.base_url)
    except DemoError as error:
        error.step = teller.step
        raise
    try:
        story = await _played(stage, teller)
    finally:
        await opening.__aexit__(None, None, None)
    seconds = monotonic() - begun
    teller.summary(story.operations.documents, seconds)
    return story.document(seconds)


async def _played(stage: Stage, teller: Teller) -> Story:
    """Play the story; a child that ends before its time ends it too."""
    try:
        with teller.doing("an issuer and a service provider are registered"):
            parties = await register_parties(stage.client, stage.operator_token, names="Demo", sandbox=True)
        story = Story(stage, teller, parties, ApplicationKeys.generate(), Operations(teller))
        playing = asyncio.create_task(story.play())
        watching = asyncio.create_task(stage.server.ended())
        try:
            await asyncio.wait({playing, watching}, return_when=asyncio.FIRST_COMPLETED)
            (playing if playing.done() else watching).result()
        finally:
            for task in (playing, watching):
                task.cancel()
            await asyncio.gather(playing, watching, return_exceptions=True)
    except DemoError as error:
        error.step = error.step or teller.step
        raise
    return story


def _personal_data(kind: ServiceKind) -> dict[str, str]:
    if kind is TRANSIT:
        return {"label": "CITY PASS", "limit": "15000"}
    number = f"99999{secrets.randbelow(10**10):010}"
    return {"pan": number + _luhn(number), "psn": "00", "expiry": "3112", "label": "DEMO BANK"}


def _luhn(number: str) -> str:
    """Return the check digit of a card number."""
    doubled = [int(digit) * (2 - place % 2) for place, digit in enumerate(reversed(number))]
    return str(-sum(value - 9 if value > 9 else value for value in doubled) % 10)
