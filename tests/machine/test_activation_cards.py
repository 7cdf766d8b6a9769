"""Activation on other kinds of card: without CRS, without ARA-M, with limits, with rivals."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace as with_fields
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import PURSE, Bench
from tests.machine.test_faults_activation import ask, contactless_state, nfc, reset, rules_on_card

from opentsm.card.codec.tlv import encode_tlv
from opentsm.card.gp import commands as gp
from opentsm.card.gp import contactless as cl
from opentsm.card.gp.privileges import Privilege
from opentsm.card.profiles import Contactless
from opentsm.tsm.domain.card_content import MemoryNeeds
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.faults import TornError

replace = msgspec.structs.replace
Opener = Callable[..., Awaitable[Bench]]
NFC = "scp03-nfc-i70"


@pytest.fixture
async def bench_of(dsn: str, tmp_path: Path) -> AsyncIterator[Opener]:
    """Give what opens a bench for a card profile, whose off-card side may believe something else."""
    opened: list[Bench] = []

    async def open_bench(profile: str = NFC, **believed: object) -> Bench:
        made = Bench(dsn, tmp_path, profile)
        made.profiles[profile] = with_fields(made.profiles[profile], **believed)  # type: ignore[arg-type]
        await made.open()
        await made.seed()
        opened.append(made)
        return made

    yield open_bench
    for made in opened:
        await made.close()


async def changed(bench: Bench, type_: OperationType) -> Operation:
    reset(bench)
    return await bench.run((await bench.requests.change(bench.principal, bench.instance_id, type_)).id)


async def test_deploy_when_there_is_no_crs_then_the_registry_is_updated(bench_of: Opener) -> None:
    bench = await bench_of(contactless=Contactless.REGISTRY_UPDATE)
    operation = await bench.run((await bench.deploy(nfc(bench))).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert contactless_state(bench) == cl.Activation.ACTIVATED
    for number in range(1, 12):
        for type_, state in ((OperationType.SUSPEND, 0), (OperationType.RESUME, 1)):
            lose_after(bench, number)
            request = await bench.requests.change(bench.principal, bench.instance_id, type_)
            assert (await bench.run(request.id)).state is OperationState.SUCCEEDED
            reset(bench)
            assert contactless_state(bench) == state, f"{type_.value}, command {number}"
    assert (await changed(bench, OperationType.TERMINATE)).state is OperationState.SUCCEEDED
    assert rules_on_card(bench) == set()


def lose_after(bench: Bench, number: int) -> None:
    def fault(sent: int) -> None:
        if sent == number:
            raise TornError

    reset(bench)
    bench.device.after = fault


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"accessible": False}, "no contactless registry"),
        ({"contactless": False}, "keeps no access rules"),
    ],
)
async def test_deploy_when_the_card_cannot_do_it_then_refused_before_anything_changes(
    bench_of: Opener, changes: dict[str, bool], words: str
) -> None:
    bench = await bench_of("scp03-i70")
    description = nfc(bench)
    apps = tuple(replace(app, **changes) for app in description.applications)
    operation = await bench.run((await bench.deploy(replace(description, applications=apps))).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert operation.failure.code == "plan_refused"
    assert words in operation.failure.detail
    assert not operation.changed_card
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


async def test_deploy_when_the_profile_promises_an_ara_m_that_is_not_there_then_fails_with_the_cards_word(
    bench_of: Opener,
) -> None:
    bench = await bench_of("scp03-i70", access_rules=True)
    apps = tuple(replace(app, contactless=False) for app in nfc(bench).applications)
    operation = await bench.run((await bench.deploy(replace(nfc(bench), applications=apps))).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert (operation.failure.code, operation.failure.status_word) == ("card_refused", "6A88")
    assert (await bench.instance()).state is InstanceState.IN_ERROR


async def test_install_when_configured_then_privileges_quotas_and_protocols_are_on_the_card(
    bench_of: Opener,
) -> None:
    bench = await bench_of()
    (app,) = nfc(bench).applications
    data = encode_tlv(0x86, encode_tlv(0xA0, bytes.fromhex("800108")))
    needs = MemoryNeeds(nonvolatile_quota=6000, nonvolatile_reserved=2000, volatile_quota=64)
    privileges = int(Privilege.PRIVACY_TRUSTED | Privilege.GLOBAL_SERVICE)
    app = replace(app, protocols=data, memory=needs, privileges=privileges)
    operation = await bench.run((await bench.deploy(replace(nfc(bench), applications=(app,)))).id)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    purse = next(one for one in bench.card.image().instances if one.aid == bytes(PURSE))
    assert (purse.quota, purse.reserved, purse.volatile_quota) == (6000, 2000, 64)
    assert purse.privileges == 0x000108
    assert purse.contactless is not None
    assert purse.contactless.protocols == {0x86: bytes.fromhex("A003800108")}


async def test_install_when_nfc_is_not_wanted_then_no_terminal_finds_it_and_no_app_may_use_it(
    bench_of: Opener,
) -> None:
    bench = await bench_of()
    operation = await bench.run((await bench.deploy()).id)
    assert operation.state is OperationState.SUCCEEDED
    reset(bench)
    assert contactless_state(bench) == cl.Activation.DEACTIVATED
    assert rules_on_card(bench) == set()
    assert "crs" not in " ".join(operation.plan).lower()


async def test_resume_when_the_user_switched_it_off_then_an_audit_shows_it_and_resume_puts_it_right(
    bench_of: Opener,
) -> None:
    bench = await bench_of()
    await bench.run((await bench.deploy(nfc(bench))).id)
    reset(bench)
    assert ask(bench, gp.select(cl.CRS_AID)).sw == 0x9000
    assert ask(bench, cl.set_availability([PURSE], activate=False)).sw == 0x9000
    reset(bench)
    audit = await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)
    assert (await bench.run(audit.id)).state is OperationState.SUCCEEDED
    async with bench.storage.transaction() as tx:
        seen = await tx.secure_elements.content(bench.se_id)
    assert seen.contactless[PURSE.hex().upper()] == "DEACTIVATED"
    assert {one.rule for one in seen.access or ()} == rules_on_card(bench)
    assert (await changed(bench, OperationType.RESUME)).state is OperationState.SUCCEEDED
    assert contactless_state(bench) == cl.Activation.ACTIVATED


async def test_deploy_when_another_application_is_in_the_way_then_fails_with_the_crs_word(
    bench_of: Opener,
) -> None:
    """Amendment C: two applications whose mandatory protocol data differ are not active together."""
    bench = await bench_of()
    (app,) = nfc(bench).applications
    first, second = (
        encode_tlv(0x86, encode_tlv(0xA0, bytes.fromhex(f"8001{byte}")) + encode_tlv(0xA1, b"\x80\x01\xff"))
        for byte in ("08", "20")
    )
    await bench.run(
        (await bench.deploy(replace(nfc(bench), applications=(replace(app, protocols=first),)))).id
    )
    other = replace(app, instance_aid=type(PURSE).from_hex("F04F54534D020102"), protocols=second)
    rival = replace(
        nfc(bench),
        service_id=bench.world.new_id(),
        sd_aid=type(PURSE).from_hex("F04F54534DF0000000000002"),
        load_files=(),
        applications=(replace(other, personalization=None, recipe_id=None, probe=None),),
    )
    operation = await bench.run((await bench.deploy(rival)).id)
    assert operation.state is OperationState.FAILED
    assert operation.failure is not None
    assert (operation.failure.code, operation.failure.status_word) == ("card_refused", "6320")
    reset(bench)
    assert contactless_state(bench) == cl.Activation.ACTIVATED
