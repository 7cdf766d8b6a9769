"""The chapter of the central path: one service on cards whose domains belong to issuer, hub and provider.

The issuer arranges, hub and issuer build, a provider with a TSM of its own finds the card by a phone number
and has its service on it, centralised and delegated; each party finds out what it cannot do.
"""

import secrets
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from opentsm.card.codec.aid import Aid
from opentsm.demo import verification as verify
from opentsm.demo.cards import DemoCard, MasterKey
from opentsm.demo.central import attempts
from opentsm.demo.central.arranging import (
    BLANK,
    CENTRAL_SD,
    CONFIGURATION,
    KINDS,
    Kind,
    arrangement,
    require_matrix,
)
from opentsm.demo.central.own_tsm import RANDOM_KEYS, OwnTsm, seen_by_phone_number
from opentsm.demo.counters import Door
from opentsm.demo.errors import VerificationError
from opentsm.demo.http_api import Caller, Json
from opentsm.demo.issuer_session import CardReading, read_card, require_same
from opentsm.demo.operations import Operations
from opentsm.demo.parties import BadgeMasters, Parties, import_master, register_card, register_provider
from opentsm.demo.services import BADGE, Service, Shelf
from opentsm.demo.teller import Teller

KIND: Final = replace(BADGE, features=RANDOM_KEYS)
RIGHTS: Final = "CITY HALL"
_GRADES: Final = {
    "confidential": "its owner agreed on its first keys with the card; who carried that knows none",
    "relay-trusted": "the hub made its first keys, its owner replaced them",
}


@dataclass(slots=True)
class ArrangedCard:
    """A card with its arrangement, and what has become of it."""

    card: DemoCard
    kind: Kind
    arrangement: Json
    number: str
    built: CardReading | None = None
    matrix: tuple[str, ...] = ()
    grade: str = ""
    instance_id: str = ""


@dataclass(slots=True)
class Tenant:
    """The provider of this chapter, with its own TSM, its doors and its service."""

    id: str
    caller: Caller
    tsm: OwnTsm
    masters: BadgeMasters = field(default_factory=BadgeMasters.generate)
    service: Service | None = None


@dataclass(slots=True)
class CentralPath:
    """Plays the chapter.

    Args:
        teller: tells it.
        parties: the issuer, and another provider than that of this chapter.
        operations: keeps what was done.
        central: the hub's master key for domains that cards come with; the operator acts for the hub.
        cards: one of each kind.
    """

    teller: Teller
    parties: Parties
    operations: Operations
    central: MasterKey
    cards: Sequence[DemoCard]
    arranged: list[ArrangedCard] = field(default_factory=list)

    async def register(self) -> None:
        """Let the issuer say who holds which domain, and register the cards with that."""
        issuer = self.parties.issuer
        for card, kind in zip(self.cards, KINDS, strict=True):
            with self.teller.doing(f"the issuer registers {card.name} and who holds its domains") as notes:
                body = arrangement(kind, self.parties.issuer_id, card)
                made = await issuer.post("/v1/arrangements", body)
                await register_card(issuer, card, made["id"])
                number = f"+4917{secrets.randbelow(10**9):09}"
                self.arranged.append(ArrangedCard(card, kind, made, number))
                notes.append(
                    f"profile {kind.profile}; ISD: the issuer, {CENTRAL_SD}: the hub,"
                    f" below it providers, {kind.words}"
                )
            if kind.comes_with_central:
                await self._hand_in(card, kind)

    async def _hand_in(self, card: DemoCard, kind: Kind) -> None:
        with self.teller.doing(f"the hub registers the keys of the domain that {card.name} came with"):
            operator = self.parties.operator
            await import_master(operator, self.central)
            path = f"/v1/secure-elements/{card.id}/domains/{CENTRAL_SD}/key-set"
            await operator.put(path, card.key_set(self.central, kind.central_kvn))

    async def play(self) -> None:
        """Play it; every step that is told has been verified.

        Raises:
            DemoError: a step failed.
        """
        self.teller.chapter(
            "The central TSM: issuer (SEI-TSM), hub and provider (SP-TSM), each a tenant with keys of its own"
        )
        tenant = await self._join()
        await self._offer(tenant)
        for one in self.arranged:
            self.teller.chapter(f"All three on {one.card.name} ({one.kind.profile}, {one.kind.words})")
            await self._build(one)
            await self._find(tenant, one)
            await self._deploy(tenant, one)
            await self._use(tenant, one)
            if one.kind is BLANK:
                await self._keep_apart(tenant, one)
                await self._talk(tenant, one)
            await self._leave(tenant, one)
            if one.kind.mode == "DM":
                await self._account_for_tokens(one)

    # --- the provider and its service ------------------------------------------------------------------

    async def _join(self) -> Tenant:
        with self.teller.doing("a provider with a TSM of its own is registered, an SP-TSM") as notes:
            id_, caller = await register_provider(self.parties.operator, "Demo SP-TSM", sandbox=True)
            tenant = Tenant(id_, caller, OwnTsm(caller))
            await tenant.tsm.register_transport_key()
            await tenant.masters.give_to(caller)
            notes.append("it brings its transport key and the keys of its doors")
        return tenant

    async def _offer(self, tenant: Tenant) -> None:
        with self.teller.doing(f"it publishes «{KIND.name}», once for all modes") as notes:
            shelf = Shelf(await tenant.caller.provider_door())
            load_file, recipe = await shelf.upload_load_file(KIND), await shelf.upload_recipe(KIND)
            profiles = sorted({card.profile.name for card in self.cards})
            tenant.service = await shelf.publish(KIND, load_file, recipe, profiles)
            notes.append(f"security domain {tenant.service.sd_aid}")

    # --- arranging -------------------------------------------------------------------------------------

    async def _build(self, one: ArrangedCard) -> None:
        issuer, card = self.parties.issuer, one.card
        request = issuer.post(f"/v1/secure-elements/{card.id}/configurations", {})
        await self.operations.run(
            f"the issuer and the hub build the arrangement on {card.name}", issuer, card, request
        )
        text = f"the issuer reads {card.name} past the TSM: privileges as in configuration {CONFIGURATION}"
        with self.teller.doing(text) as notes:
            one.built = await read_card(card)
            matrix = require_matrix(card, one.built, one.arrangement)
            one.matrix = matrix.lines()
            notes.append(f"{len(matrix.columns)} domains, equal cell for cell")
        self.teller.lines(one.matrix)

    async def _find(self, tenant: Tenant, one: ArrangedCard) -> None:
        card = one.card
        with self.teller.doing(f"the issuer registers the subscription in which {card.name} is"):
            body = {
                "identifier": {"type": "MSISDN", "value": one.number},
                "se_id": card.id,
                "readers": [tenant.id],
            }
            await self.parties.issuer.post("/v1/subscriptions", body)
        with self.teller.doing(f"the SP-TSM finds {card.name} by its phone number") as notes:
            data = await seen_by_phone_number(tenant.caller, one.number)
            found = [name["SEId_Generic"]["Id"] for name in data["SecureElement"]]
            if found != [card.id] or data["SECapabilityProfileId"] != card.profile.name:
                raise VerificationError(f"the registry leads to {found}, it should lead to {card.id}")
            notes.append(f"profile {data['SECapabilityProfileId']}, {data['SEState']}")

    # --- the service's life ----------------------------------------------------------------------------

    async def _deploy(self, tenant: Tenant, one: ArrangedCard) -> None:
        card, service = one.card, _service(tenant)
        body = {"service_id": service.id, "se_id": card.id, "data": {"rights": RIGHTS}}

        async def request() -> Json:
            answer: Json = await tenant.caller.post("/v1/instances", body)
            one.instance_id = answer["instance"]["id"]
            operation: Json = answer["operation"]
            return operation

        await self._run(f"deploy «{KIND.name}» on {card.name}", tenant, one, request())
        verify.require_present(card, _objects(service))
        with self.teller.doing(f"the domain of «{KIND.name}» on {card.name} changed hands") as notes:
            shown = (await tenant.caller.get(f"/v1/instances/{one.instance_id}"))["handover"]
            one.grade = await _grade(tenant, one)
            if {one.grade, shown} != {one.kind.handover}:
                raise VerificationError(
                    f"the domain changed hands {one.grade} by its owner's audit and {shown} by the API,"
                    f" not {one.kind.handover}"
                )
            notes.append(f"{one.grade}: {_GRADES[one.grade]}")

    async def _use(self, tenant: Tenant, one: ArrangedCard) -> None:
        with self.teller.doing(f"a door opens for the badge on {one.card.name}") as notes:
            notes.append(await Door(tenant.masters).opens(one.card, RIGHTS))

    async def _leave(self, tenant: Tenant, one: ArrangedCard) -> None:
        card = one.card
        request = tenant.caller.post(f"/v1/instances/{one.instance_id}/terminations", {})
        await self._run(f"terminate «{KIND.name}» on {card.name}", tenant, one, request)
        verify.require_absent(card, _objects(_service(tenant)))
        text = f"the issuer reads {card.name} again: as it was after its configuration"
        with self.teller.doing(text) as notes:
            reading = await read_card(card)
            if one.built is not None:
                require_same(card, one.built, reading, "after its configuration")
            notes.append(f"{len(reading.entries)} objects, {reading.free_memory} bytes free")

    # --- what each cannot do ---------------------------------------------------------------------------

    async def _keep_apart(self, tenant: Tenant, one: ArrangedCard) -> None:
        parties, card = self.parties, one.card
        path = f"/v1/instances/{one.instance_id}"
        with self.teller.doing("another provider asks for this instance, and for the subscription") as notes:
            notes.append(await parties.provider.refused(404, "GET", path))
            body = {"identifier": {"type": "MSISDN", "value": one.number}}
            notes.append(await parties.provider.refused(404, "POST", "/v1/secure-elements/lookups", body))
        with self.teller.doing("issuer and operator ask for the domain's keys") as notes:
            for party in (parties.issuer, parties.operator):
                notes.append(await party.refused(403, "GET", f"{path}/domain-keys"))
        domain = (await tenant.tsm.domain_keys(one.instance_id)).domain
        with self.teller.doing(f"the issuer tries its own keys on the domain {domain}") as notes:
            own = card.profile.initial_kvn
            notes.append(await attempts.keys_are_unknown(card, domain, own))
        with self.teller.doing(f"the issuer tries to load something into {card.name} itself") as notes:
            notes.append(await attempts.issuer_cannot_load(card))

    async def _talk(self, tenant: Tenant, one: ArrangedCard) -> None:
        """Let the provider's TSM replace the domain's keys by its own, in a conversation."""
        card, path = one.card, f"/v1/instances/{one.instance_id}"
        text = f"the SP-TSM puts keys of its own on {card.name}, by scripts that it wraps itself"
        present = await tenant.tsm.domain_keys(one.instance_id)
        new = present.successor()
        async with card.lock:
            with self.teller.operation(text) as line:
                conversation = await tenant.tsm.begin(card.id, present.domain)
                await conversation.rotate(present, new)
                await conversation.end()
                ended = await tenant.caller.get(f"/v1/operations/{conversation.operation_id}")
                line.show(text, ended)
                self.operations.note(ended, card, KIND.name)
        with self.teller.doing(
            f"{card.name} takes the new keys, not the old ones and not the issuer's"
        ) as notes:
            await attempts.session_opens(card, new.domain, new.kvn, new.keys)
            notes.append(await attempts.keys_are_unknown(card, new.domain, present.kvn))
            notes.append(await attempts.keys_are_wrong(card, new.domain, new.kvn, card.keys))
        with self.teller.doing("the TSM rotates keys no more that it does not have") as notes:
            notes.append(await tenant.caller.refused(409, "POST", f"{path}/key-rotations", {}))

    async def _account_for_tokens(self, one: ArrangedCard) -> None:
        """Compare what the issuer signed with what the card confirmed."""
        with self.teller.doing(
            "the issuer finds a receipt of the card for each token that it issued"
        ) as notes:
            entries = await _audit(self.parties.issuer, one.card.id)
            issued, verified = (
                [int(entry["details"]["number"]) for entry in entries if entry["action"] == action]
                for action in ("token.issued", "receipt.verified")
            )
            if not issued or sorted(issued) != sorted(verified):
                raise VerificationError(
                    f"{len(issued)} tokens were issued, {len(verified)} receipts verified"
                )
            notes.append(f"{len(issued)} tokens, {len(verified)} receipts, each verified")

    async def _run(self, text: str, tenant: Tenant, one: ArrangedCard, request: Awaitable[Json]) -> None:
        await self.operations.run(text, tenant.caller, one.card, request, service=KIND.name)

    def rows(self) -> list[Json]:
        """Return what became of the cards as JSON values."""
        return [
            {
                "id": one.card.id,
                "name": one.card.name,
                "profile": one.card.profile.name,
                "configuration": CONFIGURATION,
                "mode": one.kind.mode,
                "handover": one.grade,
                "matrix": list(one.matrix),
                "free_memory": 0 if one.built is None else one.built.free_memory,
                "registry": [] if one.built is None else one.built.rows(),
            }
            for one in self.arranged
        ]


def _service(tenant: Tenant) -> Service:
    if tenant.service is None:
        raise VerificationError("the provider has published nothing")
    return tenant.service


def _objects(service: Service) -> tuple[str, str, str]:
    return service.sd_aid, KIND.package, KIND.instance


async def _grade(tenant: Tenant, one: ArrangedCard) -> str:
    """Return the grade in which the domain came to its owner, from the owner's own audit."""
    domain = Aid.from_hex(_service(tenant).sd_aid)
    for entry in await _audit(tenant.caller, one.card.id):
        details = entry["details"]
        if "grade" in details and Aid.from_hex(str(details["security_domain"])) == domain:
            return str(details["grade"])
    raise VerificationError("the owner's audit does not say how the domain changed hands")


async def _audit(caller: Caller, subject: str) -> list[Json]:
    page = await caller.get("/v1/audit", subject=subject, limit="200")
    items: list[Json] = page["items"]
    return items
