"""Cards are torn and answers are lost at every command that activates a service, or takes this back.

The card has a contactless registry and an ARA-M. Afterwards exactly the service's own access rules are there,
a terminal finds the application or does not, and what somebody else put there is as it was.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import PURSE, Bench

from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.gp import access_rules as rules
from opentsm.card.gp import commands as gp
from opentsm.card.gp import contactless as cl
from opentsm.card.scp.channel import SecurityLevel, StaticKeys, parse_initialize_update
from opentsm.card.scp.session import derive_session_keys, open_channel
from opentsm.tsm.domain.card_content import ServiceDescription
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.vse.faults import TornError

PROFILES = ["scp03-nfc-i70", "scp02-nfc-i55"]
APPS = (bytes.fromhex("11" * 32), bytes.fromhex("22" * 20))
FOREIGN = rules.AccessRule(rules.RuleTarget(aid=bytes(PURSE), device=bytes.fromhex("33" * 32)), apdu=True)
MOMENTS = ["cut before", "cut after", "answer lost"]
SUSPEND, RESUME = OperationType.SUSPEND, OperationType.RESUME
STATES = {SUSPEND: InstanceState.SUSPENDED, RESUME: InstanceState.OPERATIONAL}


@pytest.fixture(params=PROFILES)
async def bench(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(dsn, tmp_path, request.param)
    await made.open()
    await made.seed()
    yield made
    await made.close()


def nfc(bench: Bench) -> ServiceDescription:
    replace = msgspec.structs.replace
    app = replace(bench.description.applications[0], contactless=True, accessible=True)
    return replace(bench.description, applications=(app,), device_apps=APPS)


def ask(bench: Bench, command: CommandApdu) -> ResponseApdu:
    return ResponseApdu.parse(bench.card.transmit(command.to_bytes()))


def rules_on_card(bench: Bench) -> set[bytes]:
    """Read the rules as a device does."""
    assert ask(bench, gp.select(rules.ARA_M_AID)).sw == 0x9000
    data = ask(bench, rules.get_rules(rules.TAG_ALL)).data
    while rules.missing_bytes(data):
        data += ask(bench, rules.get_rules(rules.TAG_NEXT)).data
    return {rule.to_bytes() for rule in rules.parse_rules(data)}


def contactless_state(bench: Bench) -> int:
    """Read the purse's state as a wallet does."""
    assert ask(bench, gp.select(cl.CRS_AID)).sw == 0x9000
    (entry,) = cl.parse_crs_status(ask(bench, cl.crs_status(bytes(PURSE))).data)
    return entry.activation


def own_rules() -> set[bytes]:
    """Return the rules as Secure Element Access Control 1.1 section 6 codes them."""
    return {
        bytes.fromhex("E236 E12C 4F08F04F54534D020101 C120" + 32 * "11" + "E306 D00101 D10101"),
        bytes.fromhex("E22A E120 4F08F04F54534D020101 C114" + 20 * "22" + "E306 D00101 D10101"),
    }


async def deployed(bench: Bench) -> Operation:
    return await bench.run((await bench.deploy(nfc(bench))).id)


def reset(bench: Bench) -> None:
    bench.device.before = bench.device.after = lambda _: None
    bench.device.sent = 0
    bench.card.power_off()
    bench.card.power_on()


def assert_active(bench: Bench, active: bool, where: str, others: frozenset[bytes] = frozenset()) -> None:
    bench.card.power_off()
    bench.card.power_on()
    assert rules_on_card(bench) - others == (own_rules() if active else set()), where
    assert contactless_state(bench) == (cl.Activation.ACTIVATED if active else cl.Activation.DEACTIVATED), (
        where
    )


async def run_with_fault(bench: Bench, operation: Operation, moment: str, number: int) -> int:
    """Run an operation with a fault at its n-th command (0: none); return how many commands were sent."""
    reset(bench)

    def fault(sent: int) -> None:
        if sent == number:
            raise TornError

    setattr(bench.device, "before" if moment == "cut before" else "after", fault)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.SUCCEEDED, f"{moment} {number}: {ended.failure} {ended.plan}"
    return bench.device.sent


def put_rule(bench: Bench, rule: rules.AccessRule) -> None:
    """Let the issuer itself store a rule, past the TSM."""
    profile, keys = bench.profiles[bench.profile_name], bench.issuer_keys()
    bench.card.power_off()
    bench.card.power_on()
    assert ask(bench, gp.select(profile.isd_aid)).sw == 0x9000
    answer = ask(bench, gp.initialize_update(profile.initial_kvn, bytes(8)))
    init = parse_initialize_update(answer.data, scp02_i=profile.i)
    static = StaticKeys(keys.enc, keys.mac, keys.dek)
    channel = open_channel(derive_session_keys(static, init, bytes(8)), init, bytes(8))
    assert ask(bench, channel.external_authenticate(SecurityLevel.C_MAC)).sw == 0x9000
    for command in (gp.install_for_personalization(rules.ARA_M_AID), rules.store_rule(rule)):
        assert ask(bench, channel.wrap(command).apdu).sw in (0x9000, 0x6381)


async def test_deployment_when_nothing_fails_activates_and_termination_takes_it_all_back(
    bench: Bench,
) -> None:
    operation = await deployed(bench)
    assert operation.state is OperationState.SUCCEEDED, operation.failure
    assert (await bench.instance()).state is InstanceState.OPERATIONAL
    assert_active(bench, True, "deployed")
    await run_with_fault(
        bench, await bench.requests.change(bench.principal, bench.instance_id, SUSPEND), "", 0
    )
    assert_active(bench, False, "suspended")
    await run_with_fault(
        bench, await bench.requests.change(bench.principal, bench.instance_id, RESUME), "", 0
    )
    assert_active(bench, True, "resumed")
    end = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    await run_with_fault(bench, end, "", 0)
    assert rules_on_card(bench) == set()
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


async def run(bench: Bench, type_: OperationType, moment: str = "", number: int = 0) -> int:
    operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
    return await run_with_fault(bench, operation, moment, number)


async def lose_only_answers(bench: Bench, moment: str) -> None:
    """Make the device one that speaks plain SERAM: it says nothing of the loss and polls again."""
    if moment == "answer lost":
        bench.device.keeps_power, bench.device.reports_loss = True, False
        bench.extended = False
        await bench.negotiate()


@pytest.mark.parametrize("bench", PROFILES[:1], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_activation_when_torn_or_unanswered_at_any_command_is_as_wanted(
    bench: Bench, moment: str
) -> None:
    await deployed(bench)
    await lose_only_answers(bench, moment)
    put_rule(bench, FOREIGN)
    commands = {type_: await run(bench, type_) for type_ in (SUSPEND, RESUME)}
    for number in range(1, max(commands.values()) + 1):
        for type_ in (SUSPEND, RESUME):
            await run(bench, type_, moment, number if number <= commands[type_] else 0)
            where = f"{type_.value}, {moment} command {number}"
            assert_active(bench, type_ is RESUME, where, frozenset({FOREIGN.to_bytes()}))
            assert FOREIGN.to_bytes() in rules_on_card(bench), where
            assert (await bench.instance()).state is STATES[type_], where


@pytest.mark.parametrize("bench", PROFILES[:1], indirect=True)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_deployment_and_termination_when_torn_while_rules_change_leave_no_rule_behind(
    bench: Bench, moment: str
) -> None:
    """The last commands of a deployment activate, the first of a termination take this back."""
    await lose_only_answers(bench, moment)
    length = await run_with_fault(bench, await bench.deploy(nfc(bench)), "", 0)
    await run(bench, OperationType.TERMINATE)
    for back in range(MOMENTS.index(moment), 9, 3):
        await run_with_fault(bench, await bench.deploy(nfc(bench)), moment, length - back)
        assert_active(bench, True, f"{moment} command {back} from the end")
        await run(bench, OperationType.TERMINATE, moment, back + 3)
        assert rules_on_card(bench) == set(), f"{moment} command {back + 3}"
        assert {i.aid for i in bench.card.image().instances} == bench.factory_instances
        async with bench.storage.transaction() as tx:
            content = await tx.secure_elements.content(bench.se_id)
        assert not content.own_access


async def test_activation_when_the_issuer_stored_the_same_rule_leaves_it_to_the_issuer(bench: Bench) -> None:
    await deployed(bench)
    await run(bench, SUSPEND)
    (mine,) = (rule for rule in own_rules() if b"\x11" * 32 in rule)
    put_rule(bench, rules.parse_rule(mine))
    await bench.run((await bench.requests.audit_secure_element(bench.issuer_principal, bench.se_id)).id)
    await run(bench, RESUME)
    assert rules_on_card(bench) == own_rules()
    await run(bench, OperationType.TERMINATE)
    assert rules_on_card(bench) == {mine}
