"""Messages between TSMs: the envelope, calls that are made once, limits in time and size, parties apart."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.scenario.api_bench import ApiBench, Json
from tests.scenario.messaging_bodies import PATH, bodies
from tests.scenario.messaging_scene import BADGE, Scene, build, envelope

from opentsm.api.messaging import status_codes
from opentsm.api.messaging.functions import FUNCTIONS
from opentsm.api.messaging.status_codes import OWNER, REASONS, SUBJECTS
from opentsm.card.gp import commands
from opentsm.tsm.adapters.storage.postgres import PostgresUnitOfWork
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.kernel.errors import InternalError, TsmError
from opentsm.tsm.roles.hub.expiry import sweep_expired
from opentsm.tsm.roles.hub.order_answers import Report

SELECT = commands.select(BADGE).to_bytes().hex()
# what any provider may ask about a secure element before it has anything there
OPEN_TO_PROVIDERS = (
    *("GetSEData", "GetSECapabilityProfileId", "GetMobileSubscriptionSEIdentifiers"),
    "GetSDFreeMemory",
)


class CrashError(BaseException):
    """The process is gone."""


@pytest.fixture
async def scene(api: ApiBench) -> Scene:
    return await build(api)


@pytest.fixture
async def installed(scene: Scene) -> AsyncIterator[Scene]:
    """Give a scene with an active service."""
    async with scene.at_work():
        await scene.declare()
        await scene.deploy("Install", "Activate")
        yield scene


def reason(document: Json) -> str:
    """Return the code that an answer's reason stands for."""
    told = document["FunctionExecutionStatus"]["StatusCodeData"]["Reason"]
    return next(code for code in REASONS if status_codes.subject_and_reason(code)[1] == told)


def test_reasons_when_compared_with_the_errors_then_each_has_a_number_of_its_own() -> None:
    numbers = [number for _, number in REASONS.values()]
    assert len(set(numbers)) == len(numbers)
    assert {subject for subject, _ in REASONS.values()} == set(SUBJECTS)
    assert len(set(SUBJECTS.values())) == len(SUBJECTS)


async def test_answer_when_refused_then_an_envelope_with_the_status_of_http_and_no_secret(
    scene: Scene,
) -> None:
    key = "40414243444546474849404142434445"
    for who, function, body, http, code in (
        ("provider", "GetSEData", {}, 400, "invalid_input"),
        ("provider", "GetSEData", {**scene.element, "Key": key}, 400, "invalid_input"),
        ("provider", "SendScript", {"ConversationID": 1, "CommandAPDU": ["0"]}, 400, "invalid_input"),
        ("provider", "SendScript", {"ConversationID": "1", "CommandAPDU": [key]}, 400, "invalid_input"),
        ("provider", "SendScript", {"ConversationID": 1, "CommandAPDU": [key]}, 404, "not_found"),
        ("issuer", "BeginConversation", scene.element, 403, "forbidden"),
        ("provider", "NoSuchFunction", {}, 404, "not_found"),
    ):
        refused = await scene.call(function, body, who=who)
        assert reason(envelope(refused, http, "Failed")) == code
        assert key not in refused.text
    without = await scene.api.client.post("/v1/messaging/GetSEData", json={})
    assert reason(envelope(without, 401, "Failed")) == "unauthenticated"
    for content, type_ in ((b"{", "application/json"), (b"{}", "text/plain")):
        headers = {
            "Authorization": f"Bearer {await scene.api.party('provider')}",
            "Content-Type": type_,
        }
        sent = await scene.api.client.post("/v1/messaging/GetSEData", content=content, headers=headers)
        envelope(sent, 400 if type_.endswith("json") else 415, "Failed")


async def test_functions_when_another_providers_things_are_named_then_as_if_there_were_none(
    installed: Scene,
) -> None:
    """The foreign id and the unknown id are answered with the same words."""
    scene = installed
    found = await scene.good("LookupServiceInstanceReference", {**scene.element, **_service(scene)})
    assert found["ServiceInstanceState"] == InstanceState.OPERATIONAL.value
    conversation = await scene.begin()
    instances = (await scene.api.get("provider", f"/v1/instances?se_id={scene.se_id}")).json()["items"]
    operations = (await scene.api.get("provider", f"/v1/operations?se_id={scene.se_id}")).json()["items"]
    own = {
        "alias": "nobody",
        "service_id": scene.service_id,
        "instance_id": instances[0]["id"],
        "conversation_id": str(conversation),
        "operation_id": operations[0]["id"],
        "se_id": scene.se_id,
    }
    unknown = {
        **own,
        "service_id": scene.api.world.new_id(),
        "instance_id": scene.api.world.new_id(),
        "conversation_id": str(conversation + 1),
        "operation_id": scene.api.world.new_id(),
        "se_id": scene.api.world.new_id(),
    }
    for route in (PATH + function.name for function in FUNCTIONS):
        function = route.removeprefix(PATH)
        answers = []
        for ids in (own, unknown):
            body = bodies(ids)[route]
            if "MobileSubscription" in body:  # the secure element itself is no secret from a provider
                body = {k: v for k, v in body.items() if k != "MobileSubscription"} | scene.element
            answer = await scene.call(function, body, who="other provider", wait=0)
            document = answer.json()
            status = document["FunctionExecutionStatus"]
            code = status.get("StatusCodeData", {})
            message = str(code.get("Message", "")).rpartition(" (")[0]
            for id_ in set(ids.values()):
                message = message.replace(id_, "…")
            answers.append((answer.status_code, status["Status"], code.get("Reason"), message))
        assert answers[0] == answers[1], function
        if function not in OPEN_TO_PROVIDERS:
            assert answers[0][0] in (400, 403, 404), (function, answers)
    await scene.end(conversation)


def _service(scene: Scene) -> Json:
    return {"Service": {"ServiceId": scene.service_id}}


# --- once ------------------------------------------------------------------------------------------------


async def test_call_when_repeated_with_its_identifier_then_done_once_and_answered_the_same(
    installed: Scene,
) -> None:
    scene = installed
    begin = {**scene.element, "FunctionCallIdentifier": scene.api.world.new_id()}
    first, again = [await scene.call("BeginConversation", begin) for _ in range(2)]
    assert first.json()["ResponseData"] == again.json()["ResponseData"]
    assert first.json()["FunctionCallIdentifier"] == begin["FunctionCallIdentifier"]
    conversation = first.json()["ResponseData"]["ConversationID"]
    script = {
        "ConversationID": conversation,
        "CommandAPDU": [SELECT],
        "FunctionCallIdentifier": scene.api.world.new_id(),
    }
    before = len(scene.device.trace)
    answers = await asyncio.gather(*(scene.call("SendScript", script) for _ in range(3)))
    later = await scene.call("SendScript", script)
    assert {one.text for one in answers} | {later.text}
    assert len({str(one.json()["ResponseData"]) for one in (*answers, later)}) == 1
    assert len(scene.device.trace) == before + 1
    other = {**script, "CommandAPDU": [SELECT, SELECT]}
    assert reason(envelope(await scene.call("SendScript", other), 409, "Failed")) == "idempotency_key_reused"
    end = {"ConversationID": conversation, "FunctionCallIdentifier": scene.api.world.new_id()}
    for _ in range(2):
        ended = envelope(await scene.call("EndConversation", end), 200, "Executed-Success")
        assert ended["ResponseData"]["ConversationState"] == "ENDED"
    # another party's identifiers are another party's
    stranger = await scene.call("SendScript", script, who="other provider")
    assert reason(envelope(stranger, 404, "Failed")) == "not_found"


@pytest.mark.parametrize("durable", [False, True], ids=["lost", "durable"])
async def test_script_when_the_server_crashes_at_its_commit_then_the_repeat_makes_it_one(
    installed: Scene, scenario_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    scene = installed
    body = {
        "ConversationID": await scene.begin(),
        "CommandAPDU": [SELECT],
        "FunctionCallIdentifier": scene.api.world.new_id(),
    }
    before = len(scene.device.trace)
    real, mine = PostgresUnitOfWork.commit, asyncio.current_task()

    async def commit(self: PostgresUnitOfWork) -> None:
        if asyncio.current_task() is not mine:  # worker and device live elsewhere
            await real(self)
            return
        monkeypatch.setattr(PostgresUnitOfWork, "commit", real)
        if durable:
            await real(self)
        raise CrashError

    monkeypatch.setattr(PostgresUnitOfWork, "commit", commit)
    with pytest.raises(CrashError):
        await scene.call("SendScript", body)
    async with ApiBench.open(scenario_dsn, tmp_path) as twin:
        twin.tokens, twin.ids = scene.api.tokens, scene.api.ids
        repeated = await twin.post("provider", "/v1/messaging/SendScript", body)
    document = envelope(repeated, 200, "Executed-Success")
    assert [one[-4:] for one in document["ResponseData"]["ResponseAPDU"]] == ["9000"]
    assert len(scene.device.trace) == before + 1


# --- time ------------------------------------------------------------------------------------------------


async def test_script_when_no_device_comes_then_pending_and_its_result_is_there_later(scene: Scene) -> None:
    async with scene.at_work():
        await scene.declare()
        await scene.deploy("Install", "Activate")
        conversation = await scene.begin()
    body = {"ConversationID": conversation, "CommandAPDU": [SELECT]}
    pending = envelope(await scene.call("SendScript", body, wait=0), 202, "Executed-Success")
    data = pending["ResponseData"]
    assert data["ProcessState"] == "PENDING"
    ask = {"ProcessReference": data["ProcessReference"]}
    envelope(await scene.call("GetProcessResult", ask), 202, "Executed-Success")
    busy = await scene.call("SendScript", body, wait=0)
    assert reason(envelope(busy, 409, "Failed")) == "script_in_work"
    async with scene.at_work():
        found = envelope(await scene.call("GetProcessResult", ask, wait=20), 200, "Executed-Success")
    assert found["ResponseData"]["ResponseAPDU"][0][-4:] == "9000"
    stranger = await scene.call("GetProcessResult", ask, who="other provider")
    assert reason(envelope(stranger, 404, "Failed")) == "not_found"


async def test_script_when_its_validity_is_over_then_expired_and_never_sent(scene: Scene) -> None:
    async with scene.at_work():
        await scene.declare()
        await scene.deploy("Install", "Activate")
        conversation = await scene.begin()
    body = {"ConversationID": conversation, "CommandAPDU": [SELECT], "ValidityPeriod": 5}
    data = envelope(await scene.call("SendScript", body, wait=0), 202, "Executed-Success")["ResponseData"]
    before = len(scene.device.trace)
    scene.api.world.shift += timedelta(seconds=6)
    await sweep_expired(scene.api.storage, scene.api.world)
    await scene.api.work()
    ask = {"ProcessReference": data["ProcessReference"]}
    assert reason(envelope(await scene.call("GetProcessResult", ask), 200, "Expired")) == "expired"
    await scene.exchange(Report(polling=True))
    assert len(scene.device.trace) == before


async def test_service_when_its_validity_is_over_then_expired(scene: Scene) -> None:
    await scene.declare()
    body = {
        "ServiceInstanceReference": scene.reference(),
        "ServiceCommand": [{"Command": "InstallServiceCommand"}],
        "ValidityPeriod": 5,
    }
    data = envelope(await scene.call("DeployService", body), 202, "Executed-Success")["ResponseData"]
    scene.api.world.shift += timedelta(seconds=6)
    await scene.api.work()
    ask = {"ProcessReference": data["ProcessReference"]}
    assert reason(envelope(await scene.call("GetProcessResult", ask), 200, "Expired")) == "expired"


async def test_conversation_when_its_time_is_over_then_scripts_and_its_end_are_refused(
    installed: Scene,
) -> None:
    scene = installed
    conversation = await scene.begin(TimeToLive=30)
    scene.api.world.shift += timedelta(seconds=31)
    body = {"ConversationID": conversation, "CommandAPDU": [SELECT]}
    refused = envelope(await scene.call("SendScript", body), 409, "Failed")
    assert reason(refused) == "conversation_ended"


async def test_conversation_when_another_is_open_then_waits_and_is_told_when_it_opens(
    installed: Scene,
) -> None:
    scene = installed
    first = await scene.begin()
    waiting = envelope(await scene.call("BeginConversation", scene.element, wait=0), 202, "Executed-Success")[
        "ResponseData"
    ]
    assert waiting["ConversationState"] == "WAITING"
    early = {"ConversationID": waiting["ConversationID"], "CommandAPDU": [SELECT]}
    assert reason(envelope(await scene.call("SendScript", early), 409, "Failed")) == "conversation_waiting"
    await scene.end(first)
    ask = {"ProcessReference": waiting["ProcessReference"]}
    opened = envelope(await scene.call("GetProcessResult", ask, wait=20), 200, "Executed-Success")
    assert opened["ResponseData"]["ConversationState"] == "OPEN"
    envelope(await scene.call("SendScript", early), 200, "Executed-Success")


# --- scripts ---------------------------------------------------------------------------------------------


async def test_script_when_a_command_is_refused_here_then_its_index_is_told_and_nothing_leaves(
    installed: Scene,
) -> None:
    scene = installed
    conversation = await scene.begin()
    before = len(scene.device.trace)
    for script, http, code, subject in (
        ([SELECT, "0070000001"], 403, "script_refused", "/CommandAPDU/1"),
        (["00A4040008A000000151000000"], 403, "script_refused", "/CommandAPDU/0"),
        ([SELECT, *["80E20000"] * 128], 413, "script_too_large", "/CommandAPDU"),
        ([SELECT, "80E20000" + "00FFFF" + "00" * 0xFFFF], 413, "script_too_large", "/CommandAPDU"),
    ):
        body = {"ConversationID": conversation, "CommandAPDU": script}
        refused = envelope(await scene.call("SendScript", body), http, "Failed")
        assert reason(refused) == code
        told = refused["FunctionExecutionStatus"]["StatusCodeData"]
        assert told["SubjectIdentifier"] == subject
    assert len(scene.device.trace) == before


async def test_script_when_the_card_refuses_a_command_then_a_warning_with_all_answers(
    installed: Scene,
) -> None:
    scene = installed
    body = {"ConversationID": await scene.begin(), "CommandAPDU": [SELECT, "00FE000000", SELECT]}
    told = envelope(await scene.call("SendScript", body), 200, "Executed-WithWarning")
    data = told["ResponseData"]
    assert (len(data["ResponseAPDU"]), data["FailedAPDUIndex"]) == (2, 2)
    assert reason(told) == "command_refused"


async def test_tokens_when_the_card_is_not_in_delegated_mode_then_refused(installed: Scene) -> None:
    scene = installed
    conversation = await scene.begin(TargetIdentifier=str(BADGE))
    body = {"ConversationID": conversation, "CCMCommand": ["80E40000024F00"]}
    assert reason(envelope(await scene.call("GenerateDMToken", body), 400, "Failed")) == "invalid_input"
    named = {**body, "FunctionCallIdentifier": "x"}
    assert reason(envelope(await scene.call("GenerateDMToken", named), 409, "Failed")) == "conflict"


async def test_answers_when_stored_then_no_script_and_no_answer_is_in_clear(
    installed: Scene, scenario_dsn: str
) -> None:
    import asyncpg

    scene = installed
    conversation = await scene.begin()
    (answer,) = await scene.say(conversation, [bytes.fromhex(SELECT)])
    connection = await asyncpg.connect(scenario_dsn)
    rows = [
        str(tuple(row)).upper() + "".join(v.hex().upper() for v in row if isinstance(v, bytes))
        for table in ("conversation_scripts", "conversations", "device_orders", "operations")
        for row in await connection.fetch(f"SELECT * FROM {table}")
    ]
    await connection.close()
    assert rows
    assert not any(SELECT.upper() in row or answer in row for row in rows)


# --- services --------------------------------------------------------------------------------------------


async def test_names_when_declared_then_they_lead_to_the_instance_and_are_taken(installed: Scene) -> None:
    scene = installed
    state = {"ServiceInstanceState": InstanceState.OPERATIONAL.value}
    assert await scene.declare("another name") == state
    for name in ("another name", "instance-1"):
        found = await scene.good("GetServiceState", {"ServiceInstanceReference": scene.reference(name)})
        assert found == state
    body = {
        **scene.element,
        **_service(scene),
        "ServiceInstanceReference": scene.reference("instance-1"),
    }
    taken = await scene.call("DeclareServiceInstanceReference", body)
    assert reason(envelope(taken, 409, "Failed")) == "conflict"
    ours = {**body, "ServiceInstanceReference": {"ReferenceOwner": OWNER, "Reference": "x"}}
    refused = await scene.call("DeclareServiceInstanceReference", ours)
    assert reason(envelope(refused, 400, "Failed")) == "invalid_input"


async def test_eligibility_when_something_is_in_the_way_then_its_number_is_told(installed: Scene) -> None:
    scene = installed
    asked = {**scene.element, **_service(scene)}
    assert await scene.good("CheckGlobalEligibility", asked) == {
        "Eligible": False,
        "NonEligibilityReason": [3],
    }
    asked["Service"]["ServiceVersion"] = "9.9.9"
    answer = await scene.call("CheckGlobalEligibility", asked)
    assert answer.status_code in (200, 404), answer.text


async def test_commands_when_the_state_does_not_allow_them_then_refused(scene: Scene) -> None:
    await scene.declare()
    for commands_, http in (
        (["Activate"], 409),
        (["Install", "Install"], 400),
        (["Personalize", "Install"], 409),
    ):
        body = {
            "ServiceInstanceReference": scene.reference(),
            "ServiceCommand": [{"Command": f"{one}ServiceCommand"} for one in commands_],
        }
        envelope(await scene.call("DeployService", body), http, "Failed")


async def test_loss_when_a_keeper_tells_it_then_the_services_are_suspended(installed: Scene) -> None:
    scene = installed
    body = {**scene.element, "Status": "LOST", "FunctionCallIdentifier": scene.api.world.new_id()}
    for _ in range(2):
        envelope(
            await scene.call("HandleSEStatusChangeNotification", body, who="issuer"), 200, "Executed-Success"
        )
    stranger = await scene.call("HandleSEStatusChangeNotification", body, who="other issuer")
    assert reason(envelope(stranger, 404, "Failed")) == "not_found"
    asked = await scene.api.get("issuer", f"/v1/operations?se_id={scene.se_id}&type=SUSPEND")
    (lock,) = asked.json()["items"]
    ask = {"ProcessReference": lock["id"]}
    done = envelope(await scene.call("GetProcessResult", ask, who="issuer", wait=25), 200, "Executed-Success")
    assert done["ResponseData"]["ServiceInstanceState"] == InstanceState.SUSPENDED.value


async def test_subscription_when_it_leads_to_an_element_then_messages_may_name_it(installed: Scene) -> None:
    scene = installed
    body = {
        "identifier": {"type": "MSISDN", "value": "+4915112345678"},
        "se_id": scene.se_id,
    }
    made = await scene.api.post("issuer", "/v1/subscriptions", body)
    assert made.status_code == 201, made.text
    named = {"MobileSubscription": {"MSId_MSISDN": "+49 151 12345678"}}
    found = await scene.good("GetMobileSubscriptionSEIdentifiers", named)
    assert found["SecureElement"][0]["SEId_Generic"] == {"Id": scene.se_id, "Type": "OPENTSM"}
    begun = await scene.good("BeginConversation", named)
    assert begun["ConversationState"] == "OPEN"
    ended = {**named, "Status": "ENDED"}
    done = await scene.call("HandleMobileSubscriptionStatusChangeNotification", ended, who="issuer")
    envelope(done, 200, "Executed-Success")
    gone = await scene.call("GetSEData", named)
    assert reason(envelope(gone, 404, "Failed")) == "not_found"


def kinds(kind: type[TsmError]) -> set[str]:
    return {kind.code}.union(*(kinds(one) for one in kind.__subclasses__()))


def test_reasons_when_an_error_can_be_told_then_it_is_in_the_list() -> None:
    told = {"invalid_input", "not_found", "forbidden", "conflict", "script_refused", "token_refused"}
    assert told <= set(REASONS)
    assert told <= kinds(TsmError)
    assert not kinds(InternalError) - {"internal_error"} & set(REASONS)
