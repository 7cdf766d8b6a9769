"""The fixed order of the patent's figure 3, and its variants, as a provider's own TSM goes through them."""

from collections.abc import AsyncIterator

import pytest
from tests.machine.sp_tsm import SpTsm, keys_on
from tests.scenario.api_bench import ApiBench
from tests.scenario.messaging_scene import BADGE, Scene, build, envelope

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.scp.session import predict_initialize_update
from opentsm.tsm.domain.service import InstanceState

NEW = StaticKeys(*(Secret(bytes([0x60 + n]) * 16) for n in range(3)))
NEW_KVN = 0x35
READER_KEY, BADGE_KEY = bytes([0x11]) * 16, bytes([0x22]) * 16
CLEAR = ((0x6001, bytes(range(8))), (0x6002, b"\x03"), (0x6003, b"door-1"), (0xDF01, b"mine-1"))
KEYS = ((0x8001, READER_KEY), (0x8002, BADGE_KEY))


@pytest.fixture
async def scene(api: ApiBench) -> AsyncIterator[Scene]:
    made = await build(api)
    async with made.at_work():
        yield made


async def rotate(scene: Scene, conversation: int, domain: Aid, own: SpTsm) -> SpTsm:
    """Put keys of the provider's own in place of the temporary ones."""
    opened = await scene.say(conversation, own.opening(domain))
    answers = await scene.say(conversation, own.rotation(opened[1], NEW, NEW_KVN))
    assert own.checked(answers[1:])[0].sw == 0x9000
    return SpTsm(NEW, NEW_KVN)


async def personalize(scene: Scene, conversation: int, domain: Aid, own: SpTsm) -> None:
    """Personalise the badge through its domain, keys under the domain's own DEK."""
    opened = await scene.say(conversation, own.opening(domain))
    script = own.wrapped(opened[1])
    answers = await scene.say(conversation, [*script, *own.personalization(BADGE, CLEAR, KEYS)])
    assert {one.sw for one in own.checked(answers[1:])} == {0x9000}


def badge(scene: Scene) -> dict[str, bytes]:
    """Return what the badge on the card has stored."""
    (found,) = [one for one in scene.card.image().instances if one.aid == bytes(BADGE)]
    return dict(found.store)


async def check_end(scene: Scene, domain: Aid) -> None:
    """Check that the card holds the provider's keys and data, and that the badge can be selected."""
    assert keys_on(scene.card, domain, NEW_KVN) == NEW
    assert {READER_KEY, BADGE_KEY, b"door-1"} <= set(badge(scene).values())
    assert scene.card.transmit(commands.select(BADGE).to_bytes())[-2:] == b"\x90\x00"
    state = await scene.good("GetServiceState", {"ServiceInstanceReference": scene.reference()})
    assert state == {"ServiceInstanceState": InstanceState.OPERATIONAL.value}


async def test_figure_3_when_gone_through_in_its_order_then_only_the_provider_knows_what_is_on_the_card(
    scene: Scene,
) -> None:
    found = await scene.good("GetMobileSubscriptionSEIdentifiers", scene.element)
    named = {"SecureElement": found["SecureElement"][0]}
    data = await scene.good("GetSEData", named)
    assert data["SECapabilityProfileId"] == "scp03-i70"
    service = {"Service": {"ServiceId": scene.service_id}}
    assert await scene.good("CheckGlobalEligibility", {**named, **service}) == {"Eligible": True}
    assert await scene.declare() == {"ServiceInstanceState": InstanceState.NOT_DEPLOYED.value}
    deployed = await scene.deploy("Install")
    assert deployed["ServiceCommandResult"] == ["Executed-Success"]
    assert deployed["ServiceInstanceState"] == InstanceState.INSTALLED.value

    domain, temporary = await scene.temporary_keys()
    first = await scene.begin(TargetIdentifier=str(domain), RequestedOperation="key rotation")
    own = await rotate(scene, first, domain, temporary)
    await scene.end(first)
    second = await scene.begin(TargetIdentifier=str(BADGE), RequestedOperation="personalization")
    await personalize(scene, second, domain, own)
    await scene.end(second)
    activated = await scene.deploy("Activate")
    assert activated["ServiceInstanceState"] == InstanceState.OPERATIONAL.value
    await check_end(scene, domain)

    described = await scene.good(
        "GetServiceInstanceReferenceDescriptor", {"ServiceInstanceReference": scene.reference()}
    )
    assert described["KeysKeptByProvider"] is True
    ended = await scene.good("TerminateService", {"ServiceInstanceReference": scene.reference()}, wait=25)
    assert ended["ServiceInstanceState"] == InstanceState.TERMINATED.value
    assert bytes(BADGE) not in {one.aid for one in scene.card.image().instances}


async def test_figure_3_when_both_operations_are_in_one_conversation_then_it_ends_the_same(
    scene: Scene,
) -> None:
    await scene.declare()
    await scene.deploy("Install")
    domain, temporary = await scene.temporary_keys()
    only = await scene.begin()
    own = await rotate(scene, only, domain, temporary)
    await personalize(scene, only, domain, own)
    await scene.end(only)
    await scene.deploy("Activate")
    await check_end(scene, domain)


async def test_figure_3_when_all_of_a_session_is_in_one_script_then_predicted_answers_hold(
    scene: Scene,
) -> None:
    """A card with pseudo-random challenges lets a TSM wrap before it was answered."""

    await scene.declare()
    await scene.deploy("Install")
    domain, own = await scene.temporary_keys()
    only = await scene.begin()
    opened = await scene.say(only, own.opening(domain))
    told = bytes.fromhex(opened[1])
    predicted = predict_initialize_update(
        own.keys,
        scp=3,
        i=0x70,
        kdd=told[:10],
        kvn=own.kvn,
        counter=int.from_bytes(told[29:32], "big") + 1,
        aid=bytes(domain),
        host_challenge=bytes(range(8)),
    )
    answer = (predicted.to_bytes() + b"\x90\x00").hex()
    script = [*own.opening(domain), *own.rotation(answer, NEW, NEW_KVN)]
    answers = await scene.say(only, script)
    assert answers[1] == answer.upper()
    await scene.end(only)
    assert keys_on(scene.card, domain, NEW_KVN) == NEW


async def test_deploy_when_all_commands_are_in_one_request_then_the_service_is_operational(
    scene: Scene,
) -> None:
    await scene.declare()
    done = await scene.deploy("Install", "Activate")
    assert done["ServiceCommandResult"] == ["Executed-Success"] * 2
    assert done["ServiceInstanceState"] == InstanceState.OPERATIONAL.value
    reference = {"ServiceInstanceReference": scene.reference()}
    for suspended, state in ((True, InstanceState.SUSPENDED), (False, InstanceState.OPERATIONAL)):
        body = {**reference, "SuspensionControl": suspended}
        answer = await scene.good("SuspendOrResumeService", body, wait=25)
        assert answer["ServiceInstanceState"] == state.value
    status = await scene.good(
        "GetApplicationOrELFStatus", {**scene.element, "AID": [str(BADGE), "F04F54534D03"]}
    )
    assert [one["Kind"] for one in status["ComponentStatus"]] == ["APPLICATION", "LOAD_FILE"]
    free = (await scene.good("GetSDFreeMemory", scene.element))["FreeMemory"]
    for amount, fits in ((free, True), (free + 1, False)):
        asked = await scene.good("GetSDFreeMemory", {**scene.element, "RequestedAmount": amount})
        assert asked == {"MemoryAvailable": fits}


async def test_personalization_when_the_provider_keeps_its_keys_then_refused_from_here_in_plain_words(
    scene: Scene,
) -> None:
    await scene.declare()
    await scene.deploy("Install", "Activate")
    domain, temporary = await scene.temporary_keys()
    only = await scene.begin()
    await rotate(scene, only, domain, temporary)
    await scene.end(only)
    body = {
        "ServiceInstanceReference": scene.reference(),
        "ExchangeServiceDataCommand": [{"Command": "Personalize", "PersonalizationData": {}}],
    }
    refused = envelope(await scene.call("ExchangeServiceData", body), 409, "Failed")
    code = refused["FunctionExecutionStatus"]["StatusCodeData"]
    assert "kept by its provider's own TSM" in code["Message"]


async def test_picture_when_a_conversation_ended_then_answers_say_that_it_is_old(scene: Scene) -> None:
    await scene.declare()
    await scene.deploy("Install", "Activate")
    only = await scene.begin()
    await scene.say(only, [commands.select(BADGE).to_bytes()])
    await scene.end(only)
    told = envelope(await scene.call("GetSDFreeMemory", scene.element), 200, "Executed-WithWarning")
    assert told["ResponseData"]["FreeMemory"] > 0
