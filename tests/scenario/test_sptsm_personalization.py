"""Recipes at work: uploaded, described, sealed, evaluated, stored in a virtual card, used by terminals."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.scenario import sptsm_bench as b
from tests.unit.vse.card_host import FACTORY_KEYS, CardHost, load_file, make_card

from opentsm.card import purse
from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.kdf import sp800_108_cmac
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.demo.terminals import door, gate, kiosk, pos
from opentsm.demo.terminals.issuer import Issuer
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.secure_element import KeySet, KeySetState, WrappedKeys
from opentsm.tsm.engine.compile import Fills, Grouping, compile_step
from opentsm.tsm.engine.sessions import PlannedSession, SessionKind
from opentsm.tsm.engine.steps import Personalize
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvalidInputError,
    InvariantError,
    KeystoreError,
    NotFoundError,
)
from opentsm.tsm.kernel.ids import InstanceId, KeyHandle, OperationId, SegmentId, SeId, TenantId
from opentsm.tsm.ports.keystore import ChannelContext
from opentsm.tsm.ports.peer import SegmentRequest, ServiceMaterial
from opentsm.tsm.roles.sp.personalization import RecipePersonalization

RECIPES = b.SOURCE / "demo/recipes"
MASTER = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TRANSPORT = KeyHandle("transport")
ISD = Aid.from_hex("A000000151000000")
BANK_DATA = {"pan": "1234567890123456", "psn": "00", "expiry": "3012", "label": "TEST BANK"}
KINDS_OF_CARD = ["scp03-i70", "scp02-i55"]


@pytest.fixture
async def bench(scenario_dsn: str, tmp_path: Path) -> AsyncIterator[b.Bench]:
    async with b.opened(scenario_dsn, tmp_path) as bench:
        yield bench


@dataclass(slots=True)
class Deployment:
    """One instance of a personalised service, and the card that it is for."""

    bench: b.Bench
    provider: TenantId
    description: ServiceDescription
    instance_id: InstanceId
    sealed: bytes
    host: CardHost
    profile: str

    @property
    def application(self) -> Aid:
        return self.description.applications[0].instance_aid

    async def exchange(self, raw: bytes) -> bytes:
        return self.host.card.transmit(raw)

    def open_session(self) -> ChannelContext:
        """Authenticate to the card's issuer domain and return what the session is derived from."""
        scp02 = self.profile.startswith("scp02")
        self.host.select()
        self.host.authenticate(level=0x03 if scp02 else 0x33, i=0x55)
        assert self.host.init is not None
        return ChannelContext(
            scp=2 if scp02 else 3,
            i=0x55 if scp02 else 0x70,
            host_challenge=self.host.host_challenge,
            initialize_update=self.host.init.to_bytes(),
        )

    async def groupings(self, context: ChannelContext, **changes: str) -> tuple[Grouping, ...]:
        """Evaluate the recipe, as the custodian would."""
        app = self.description.applications[0]
        step = Personalize(
            application=self.application,
            recipe_id=changes.get("recipe_id", app.recipe_id or ""),
            personalization=changes.get("version", app.personalization or ""),
        )
        keystore = self.bench.keystores[self.provider]
        await keystore.import_key(TRANSPORT, Secret(bytes(32)))
        clear = b"".join(key.reveal() for key in (FACTORY_KEYS.enc, FACTORY_KEYS.mac, FACTORY_KEYS.dek))
        keys = KeySet(
            owner_id=self.provider,
            se_id=SeId("se"),
            sd_aid=ISD,
            kvn=0x30,
            scp=context.scp,
            key_length=16,
            source=WrappedKeys(transport=TRANSPORT, blob=aes_key_wrap(bytes(32), clear)),
            state=KeySetState.CURRENT,
            kcvs=(),
        )
        request = SegmentRequest(
            segment_id=SegmentId("segment"),
            operation_id=OperationId("operation"),
            se_id=SeId("se"),
            issuer_id=TenantId("issuer"),
            profile=self.profile,
            session=PlannedSession(
                kind=SessionKind.SECURE_CHANNEL,
                owner_id=self.provider,
                selected=ISD,
                key_sd=ISD,
                kvn=0x30,
                steps=(step,),
            ),
            instance_id=InstanceId(changes.get("instance_id", self.instance_id)),
            service=ServiceMaterial(description=self.description, sealed_data=self.sealed),
        )
        source = RecipePersonalization(
            TenantId(changes.get("provider", self.provider)), self.bench.storage, keystore
        )
        found = await source.groupings(request, step, keys, context)
        return tuple(one for one in found if isinstance(one, Grouping))

    async def personalize(self) -> None:
        """Install the application and store its data in the card."""
        context = self.open_session()
        app = self.description.applications[0]
        elf, module = self.description.load_files[0].aid, app.module
        assert self.host.load(load_file(elf, (module,)), package=elf) == 0x9000
        assert self.host.install(app.instance_aid, module=module, package=elf) == 0x9000
        step = Personalize(application=app.instance_aid, recipe_id="", personalization="")
        fills = Fills(groupings=await self.groupings(context))
        for command in compile_step(step, b.PROFILES[self.profile], fills):
            assert self.host.sw(command.apdu) == 0x9000
        self.host.select()


async def deployment(
    bench: b.Bench,
    name: str,
    data: dict[str, str],
    *,
    instance: str,
    cap: str,
    profile: str = "scp03-i70",
) -> Deployment:
    """Make a service with a recipe of the demo, and one instance of it."""
    provider, client = await bench.provider()
    for key in ("bank-ac", "purse-load", "purse-purchase", "purse-tac", "badge-reader", "badge-proof"):
        await bench.catalogue.scripts.import_application_key(provider, key, Secret(MASTER))
    script = await b.good(await b.upload_script(client, (RECIPES / f"{name}.json").read_bytes()))
    made = await b.configure(client, cap, instance=instance, script_id=str(script["id"]))
    await b.release(client, made, profile)
    description = await bench.catalogue.describe(provider, str(made.service["id"]), None, profile)
    instance_id = InstanceId(bench.world.new_id())
    sealed = await bench.catalogue.seal_personalization_data(provider, description, instance_id, data)
    for value in data.values():
        assert value.encode() not in sealed
    return Deployment(
        bench, provider, description, instance_id, sealed, CardHost(make_card(profile)), profile
    )


async def bank(bench: b.Bench, profile: str = "scp03-i70") -> Deployment:
    return await deployment(
        bench, "bank", BANK_DATA, instance="A0000000041010", cap="bank.cap", profile=profile
    )


def derived(diversifier: bytes) -> Secret:
    """The key that a terminal derives from the provider's master key (docs/reference/personalization.md)."""
    return Secret(sp800_108_cmac(MASTER, b"OpenTSM app1", diversifier, 128))


@pytest.mark.parametrize("profile", KINDS_OF_CARD)
async def test_bank_card_when_personalised_by_recipe_then_pays(bench: b.Bench, profile: str) -> None:
    card = await bank(bench, profile)
    (application,) = card.description.applications
    assert (application.personalization, application.probe) == ("bank-1", 0xDF01)
    await card.personalize()
    payment = pos.Payment(1995, bytes(4), "261122")
    result = await pos.pay(card.exchange, payment, Issuer(Secret(MASTER)).authorize)
    assert result.approved
    card.host.select(card.application)
    assert card.host.ok(commands.get_data(0xDF01)).endswith(b"bank-1")


@pytest.mark.parametrize("profile", KINDS_OF_CARD)
async def test_purse_when_personalised_by_recipe_then_is_topped_up_and_debited(
    bench: b.Bench, profile: str
) -> None:
    data = {"label": "CITY PASS", "limit": "100000"}
    aid = "F04F54534D02000001"
    card = await deployment(bench, "transit", data, instance=aid, cap="transit.ijc", profile=profile)
    await card.personalize()
    terminal, moment = bytes(6), bytes.fromhex("20261122181500")
    request = purse.LoadRequest(1000, terminal, bytes(8))

    def keys_of(purse_id: bytes) -> kiosk.PurseKeys:
        return kiosk.PurseKeys(derived(purse_id), derived(purse_id))

    loaded = await kiosk.top_up(card.exchange, card.application, request, moment, keys_of)
    fare = purse.PurchaseRequest(240, terminal, 7)
    passed = await gate.debit(card.exchange, card.application, fare, moment, derived, journal={})
    assert (loaded.balance, passed.balance) == (1000, 760)


async def test_badge_when_personalised_by_recipe_then_opens_the_door(bench: b.Bench) -> None:
    data = {"badge_id": "0102030405", "rights": "FLOOR-3"}
    card = await deployment(bench, "badge", data, instance="F04F54534D03000001", cap="badge.cap")
    await card.personalize()

    def keys_of(badge_id: bytes) -> door.BadgeKeys:
        return door.BadgeKeys(derived(badge_id), derived(badge_id))

    opened = await door.open_door(card.exchange, card.application, bytes(16), keys_of)
    assert (opened.badge_id.hex(), opened.rights) == ("0102030405", b"FLOOR-3")


async def test_keys_when_a_recipe_names_them_then_made_at_upload_and_different(bench: b.Bench) -> None:
    provider, client = await bench.provider()
    await b.good(await b.upload_script(client, (RECIPES / "transit.json").read_bytes()))
    keystore = bench.keystores[provider]
    made = [
        (await keystore.derive_application_key(KeyHandle(f"application/{provider}/{name}"), b"card")).reveal()
        for name in ("purse-load", "purse-purchase", "purse-tac")
    ]
    assert len(set(made)) == 3
    with pytest.raises(ConflictError, match="another one"):
        await bench.catalogue.scripts.import_application_key(provider, "purse-load", Secret(MASTER))


@pytest.mark.parametrize(("name", "length"), [("../purse", 16), ("", 16), ("Purse", 16), ("purse", 15)])
async def test_key_when_name_or_length_is_wrong_then_refused(bench: b.Bench, name: str, length: int) -> None:
    provider, _ = await bench.provider()
    with pytest.raises(InvalidInputError):
        await bench.catalogue.scripts.import_application_key(provider, name, Secret(bytes(length)))


async def test_data_when_refused_then_named_without_its_value(bench: b.Bench) -> None:
    card = await bank(bench)
    for name, value in (("pan", "12345678901"), ("label", "X" * 17), ("surprise", "1")):
        with pytest.raises(InvalidInputError) as refused:
            await bench.catalogue.seal_personalization_data(
                card.provider, card.description, card.instance_id, {**BANK_DATA, name: value}
            )
        assert name in str(refused.value)
        assert value not in str(refused.value) or value == "1"


async def test_groupings_when_asked_for_by_somebody_else_or_for_something_else_then_refused(
    bench: b.Bench,
) -> None:
    card = await bank(bench)
    stranger, _ = await bench.provider()
    context = card.open_session()
    assert await card.groupings(context)
    with pytest.raises(NotFoundError):
        await card.groupings(context, provider=stranger)
    with pytest.raises(KeystoreError):  # what is sealed for one instance opens for no other
        await card.groupings(context, instance_id="unknown")
    with pytest.raises(NotFoundError):
        await card.groupings(context, recipe_id="unknown")
    with pytest.raises(InvariantError):
        await card.groupings(context, version="bank-2")


async def test_recipe_when_its_script_is_gone_then_instances_are_still_personalised(bench: b.Bench) -> None:
    card = await bank(bench)
    async with bench.storage.transaction() as tx:
        for script in await tx.catalogue.list(card.provider, "personalization-script"):
            await tx.catalogue.delete(card.provider, "personalization-script", str(script["id"]))
        await tx.commit()
    assert await card.groupings(card.open_session())
