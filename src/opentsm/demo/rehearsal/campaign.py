"""The rehearsal: cards with a service, an update of all of them as one campaign, some dropping out and back.

Everything goes through the public HTTP APIs and the real device link; what came of it is read from the
cards' own memories.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic
from typing import Any, Final

import httpx

from opentsm.agent.backoff import Patience
from opentsm.agent.device_key import DeviceIdentity, DeviceKey
from opentsm.agent.errors import LinkError
from opentsm.agent.journal import MemoryStore
from opentsm.agent.loop import LocalAgent
from opentsm.agent.messages import SecureElement
from opentsm.agent.server_link import LinkSettings, ServerLink, enrol
from opentsm.demo import parties
from opentsm.demo.cards import DemoCard, issue_card, new_masters
from opentsm.demo.errors import ApiError
from opentsm.demo.http_api import SPTSM_PATH, Caller, Json
from opentsm.demo.rehearsal.drops import AgentKilledError, Drop, DroppingReader, draw_drops
from opentsm.demo.services import BADGE, Shelf

PROFILE: Final = "scp03-i70"
FIRST, SECOND = "F04F54534D030101", "F04F54534D030102"
_POLL_S: Final = 0.5
_AWAY_S: Final = 0.3
_WAVE: Final = 40
_TRIES: Final = 20
_TICKING: Final = ("COLLECTING", "RUNNING")

Say = Callable[[str], None]


class RehearsalError(RuntimeError):
    """The rehearsal could not be carried out."""


@dataclass(frozen=True, slots=True)
class RehearsalPlan:
    """How many cards, which share of them drops (0 … 1), from which seed, at which pace, for how long."""

    cards: int
    drop: float
    seed: int
    per_second: float = 500.0
    most_open: int = 40
    limit_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class RehearsalFigures:
    """What came of it.

    Attributes:
        cards: how many.
        state: of the campaign at its end.
        members: by state.
        reasons: of members that failed or were skipped, by code.
        drops: connections that were really lost, by kind.
        wrong_cards: cards whose memory is not what is wanted.
        twice: cards that installed the new application more than once.
        deploy_s: seconds for the deployments before.
        campaign_s: seconds from making the campaign to its end.
        updates_per_s: members a second.
        apdus: commands that the cards answered during the campaign.
    """

    cards: int
    state: str
    members: dict[str, int]
    reasons: dict[str, int]
    drops: dict[str, int]
    wrong_cards: int
    twice: int
    deploy_s: float
    campaign_s: float
    updates_per_s: float
    apdus: int

    @property
    def passed(self) -> bool:
        """Say whether every member has succeeded and every card is right."""
        done = self.state == "COMPLETED" and self.members["succeeded"] == self.cards
        return done and not self.wrong_cards and not self.twice


@dataclass(slots=True)
class Place:
    """One card in its reader, with its agent."""

    card: DemoCard
    reader: DroppingReader
    factory: frozenset[bytes]
    store: MemoryStore = field(default_factory=MemoryStore)
    instance_id: str = ""

    def content(self) -> set[bytes]:
        """Return the AIDs of load files and instances on the card."""
        image = self.card.card.image()
        return {one.aid for one in image.instances} | {one.aid for one in image.load_files}


async def rehearse(
    plan: RehearsalPlan,
    client: httpx.AsyncClient,
    operator_token: str,
    devices: httpx.AsyncClient,
    say: Say,
) -> RehearsalFigures:
    """Carry the rehearsal out on a running server.

    Args:
        plan: what.
        client: reaches the server, for the parties.
        operator_token: the operator's.
        devices: reaches the server, for the agents; without a bound on connections.
        say: is told what happens.

    Raises:
        RehearsalError: the service could not be deployed, or the campaign does not end.
    """
    known = await parties.register_parties(client, operator_token, names="Rehearsal")
    places = await _cards(plan, known)
    service = await _publish(known)
    link = await _device(known, devices)
    attendants = Attendants(link)
    try:
        say(f"{plan.cards} secure elements; the service is being deployed")
        deploy_s = await _timed(lambda: _deploy(plan, known, service, places, attendants))
        drops = draw_drops(plan.cards, plan.drop, plan.seed)
        for number, place in enumerate(places):
            place.reader.arm(drops.get(number))
        say(f"the campaign begins; {len(drops)} of them will drop their connection")
        began = monotonic()
        campaign = await _campaign(plan, known.provider, service, places, attendants=attendants, say=say)
        campaign_s = monotonic() - began
    finally:
        await attendants.attend(())
    campaign["reasons"] = await _reasons(known.provider, campaign)
    return _figures(campaign, places, drops, service, (deploy_s, campaign_s))


# --- the parties and their things ------------------------------------------------------------------------


async def _cards(plan: RehearsalPlan, known: parties.Parties) -> list[Place]:
    masters = new_masters()
    await parties.import_master(known.issuer, masters[3])
    cards = [issue_card(f"card {number}", PROFILE, masters) for number in range(plan.cards)]
    lines = "\n".join(json.dumps(card.registration()) for card in cards)
    report = await known.issuer.post("/v1/secure-elements/import", content=lines.encode())
    if report["refused"]:
        raise RehearsalError(f"the server refused a card: {report['refused'][0]['detail']}")
    for card, made in zip(cards, report["registered"], strict=True):
        card.id = made["id"]
    places = [Place(card, DroppingReader(card), frozenset()) for card in cards]
    for place in places:
        place.factory = frozenset(place.content())
    return places


async def _publish(known: parties.Parties) -> Json:
    """Publish two versions: the second has one instance of the same module more; nothing is personalised."""
    door = known.provider_door
    load_file = await Shelf(door).upload_load_file(BADGE)
    modules = await door.get(f"{SPTSM_PATH}/executable-load-files/{load_file['id']}/executable-modules")
    module = next(one for one in modules if one["aid"] == BADGE.module)
    service = await door.post(f"{SPTSM_PATH}/services", {"name": "Rehearsal"})
    path = f"{SPTSM_PATH}/services/{service['id']}"
    profiles = await door.get(f"{SPTSM_PATH}/secure-component-profiles")
    ids = [one["id"] for one in profiles if one["name"] == PROFILE]
    configs: list[Json] = []
    for tag, aid in (("1.0.0", FIRST), ("2.0.0", SECOND)):
        activation = {"accessibleViaNfc": False, "accessibleViaApdu": False}
        body = {"instanceAid": aid, "name": f"badge {aid}", "activationConfig": activation}
        config = await door.post(f"{SPTSM_PATH}/application-configs", body)
        configs.append({"executableModuleId": module["id"], "applicationConfigId": config["id"]})
        flavor = await door.post(
            f"{path}/flavors",
            {
                "name": f"flavor {tag}",
                "executableLoadFileIds": [load_file["id"]],
                "applicationInstantiationConfigs": list(configs),
            },
        )
        await door.post(f"{path}/versions", {"tag": tag, "allowedDeployments": {flavor["id"]: ids}})
        await door.post(f"{path}/flavors/{flavor['id']}/publish")
    return dict(service)


async def _device(known: parties.Parties, devices: httpx.AsyncClient) -> ServerLink:
    settings = LinkSettings(patience=Patience(give_up_after_s=None))
    key = DeviceKey.generate()
    code = await parties.enrolment_code(known.issuer)
    device_id = await enrol(devices, code, key, "rehearsal", settings=settings)
    return ServerLink(devices, DeviceIdentity(device_id, key), settings=settings)


class Attendants:
    """Runs the agents of those devices that have something to do, as a push message would wake them.

    Args:
        link: the device's link to the server.
    """

    def __init__(self, link: ServerLink) -> None:
        self._link = link
        self._running: dict[str, asyncio.Task[None]] = {}

    async def attend(self, places: Collection[Place]) -> None:
        """Let these places' agents run, and no others."""
        wanted = {place.card.se_id: place for place in places}
        leaving = [self._running.pop(se_id) for se_id in list(self._running) if se_id not in wanted]
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        for se_id, place in wanted.items():
            if se_id not in self._running:
                self._running[se_id] = asyncio.create_task(_attend(place, self._link))


async def _attend(place: Place, link: ServerLink) -> None:
    """Run a card's agent, and start it again whenever it dies: with its journal, and the card as it is."""
    element = SecureElement("eSE", place.card.se_id)
    while True:
        agent = LocalAgent(element, place.reader, place.store, link)
        place.reader.agent = running = asyncio.create_task(_one_life(agent))
        try:
            await asyncio.wait({running})
        finally:
            if not running.done():
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        place.card.card.power_off()
        await asyncio.sleep(_AWAY_S)


async def _one_life(agent: LocalAgent) -> None:
    with suppress(AgentKilledError, LinkError):
        await agent.run()


# --- deployment and campaign -----------------------------------------------------------------------------


async def _deploy(
    plan: RehearsalPlan, known: parties.Parties, service: Json, places: list[Place], attendants: Attendants
) -> None:
    """Deploy the first version, one wave of devices after the other."""
    async with asyncio.timeout(plan.limit_s):
        for first in range(0, len(places), _WAVE):
            wave = places[first : first + _WAVE]
            for place in wave:
                body = {"service_id": service["id"], "version": "1.0.0", "se_id": place.card.id, "data": {}}
                await _patiently(partial(known.provider.post, "/v1/instances", body))
            await attendants.attend(wave)
            while await _count(known.provider, service, "OPERATIONAL") < first + len(wave):
                if await _count(known.provider, service, "IN_ERROR"):
                    raise RehearsalError("a deployment failed before the campaign began")
                await asyncio.sleep(_POLL_S)
    await attendants.attend(())
    for instance in await _instances(known.provider, service, "OPERATIONAL"):
        (place,) = (one for one in places if one.card.id == instance["se_id"])
        place.instance_id = instance["id"]


async def _count(provider: Caller, service: Json, state: str) -> int:
    return len(await _instances(provider, service, state))


async def _instances(provider: Caller, service: Json, state: str) -> list[Json]:
    found: list[Json] = []
    more: dict[str, str] = {}
    while True:
        query = {"service_id": service["id"], "state": state, "limit": "200", **more}
        page = await _patiently(partial(provider.get, "/v1/instances", **query))
        found += page["items"]
        if page["next"] is None:
            return found
        more = {"after": page["next"]}


async def _campaign(
    plan: RehearsalPlan,
    provider: Caller,
    service: Json,
    places: list[Place],
    *,
    attendants: Attendants,
    say: Say,
) -> Json:
    by_instance = {place.instance_id: place for place in places}
    body = {
        "name": "Rehearsal",
        "type": "UPDATE",
        "version": "2.0.0",
        "selection": {"service_id": service["id"], "version": "1.0.0"},
        "pace": {"per_second": plan.per_second, "most_open": plan.most_open},
        "canary": {"percent": 1.0},
        "stop": {"failure_percent": 20.0},
    }
    campaign: Json = await provider.post("/v1/campaigns", body)
    told = ""
    async with asyncio.timeout(plan.limit_s):
        while campaign["state"] in _TICKING:
            await asyncio.sleep(_POLL_S)
            members = f"/v1/campaigns/{campaign['id']}/members"
            page = await _patiently(partial(provider.get, members, state="OPEN", limit="200"))
            await attendants.attend([by_instance[one["subject_id"]] for one in page["items"]])
            campaign = await _patiently(partial(provider.get, f"/v1/campaigns/{campaign['id']}"))
            line = f"{campaign['state']}: {json.dumps(campaign['counts'])} of {campaign['total']}"
            if line != told:
                say(line)
            told = line
    return campaign


async def _reasons(provider: Caller, campaign: Json) -> Counter[str]:
    reasons: Counter[str] = Counter()
    for state in ("FAILED", "SKIPPED"):
        path = f"/v1/campaigns/{campaign['id']}/members"
        page = await _patiently(partial(provider.get, path, state=state, limit="200"))
        reasons.update(one["code"] for one in page["items"])
    return reasons


def _figures(
    campaign: Json, places: list[Place], drops: dict[int, Drop], service: Json, seconds: tuple[float, float]
) -> RehearsalFigures:
    wanted = {bytes.fromhex(aid) for aid in (service["sdAid"], BADGE.package, FIRST, SECOND)}
    fired = Counter(drops[n].kind.name for n, place in enumerate(places) if place.reader.fired)
    deploy_s, campaign_s = seconds
    return RehearsalFigures(
        cards=len(places),
        state=campaign["state"],
        members=dict(campaign["counts"]),
        reasons=dict(campaign["reasons"]),
        drops=dict(fired),
        wrong_cards=sum(place.content() - place.factory != wanted for place in places),
        twice=sum(place.reader.installs > 1 for place in places),
        deploy_s=deploy_s,
        campaign_s=campaign_s,
        updates_per_s=campaign["counts"]["succeeded"] / campaign_s,
        apdus=sum(place.reader.apdus for place in places),
    )


async def _patiently(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a request whose answer was lost, as a client must; that it was carried out shows as a conflict.

    Raises:
        ApiError: the server refuses, or does not answer many times.
    """
    for attempt in range(_TRIES):
        try:
            return await call()
        except ApiError as error:
            if attempt and error.code == "conflict":
                return None
            if error.status or attempt == _TRIES - 1:
                raise
        await asyncio.sleep(_POLL_S)
    raise AssertionError("not reached")


async def _timed(work: Callable[[], Awaitable[Any]]) -> float:
    began = monotonic()
    await work()
    return monotonic() - began
