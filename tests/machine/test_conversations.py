"""Conversations on a virtual card through the device link: what may be said, for how long, and only once."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.machine.bench import DOMAIN, PURSE, Bench, CrashError
from tests.machine.crashes import CommitFault, DyingStorage
from tests.machine.sp_tsm import SpTsm, keys_on

from opentsm.card.codec.aid import Aid
from opentsm.card.crypto.secret import Secret
from opentsm.card.gp import commands
from opentsm.card.gp.keys import StaticKeys
from opentsm.card.purse.commands import get_balance
from opentsm.tsm.domain.conversation import Conversation, ConversationId, ScriptFormat, ScriptState
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.domain.registry import Bearer, BearerKind, NetworkOperator, SeData
from opentsm.tsm.engine.script_rules import ScriptRefusedError, ScriptTooLargeError
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError
from opentsm.tsm.kernel.ids import NetworkOperatorId
from opentsm.tsm.ports.repositories import Expendable
from opentsm.tsm.roles.hub.conversations.desk import Conversations
from opentsm.tsm.roles.hub.conversations.requests import (
    ConversationEndedError,
    ConversationWaitingError,
    Opening,
    ScriptInWorkError,
    ScriptResult,
)
from opentsm.tsm.roles.hub.order_answers import Report
from opentsm.vse.faults import TornError

NEW = StaticKeys(*(Secret(bytes([0x70 + n]) * 16) for n in range(3)))
OWN_KVN, NEW_KVN = 0x34, 0x35


class Talk:
    """The bench, and a provider's own TSM that converses with its card."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    @property
    def desk(self) -> Conversations:
        """Return the hub's door, also after a crash."""
        return Conversations(self.bench.conductor._s)

    async def begin(self, *, ready: bool = True, **more: object) -> Conversation:
        """Begin a conversation and let it open."""
        made, operation = await self.desk.begin(
            self.bench.principal,
            Opening(se_id=self.bench.se_id, **more),  # type: ignore[arg-type]
        )
        await self.bench.work()
        found = await self.bench.operation(operation.id)
        assert (found.state is OperationState.PREPARING) is ready, found
        return made

    async def store(self, conversation: Conversation, *script: bytes) -> int:
        """Send a script; no device has it yet."""
        sent = await self.desk.send_script(self.bench.principal, conversation.id, script)
        return sent.number

    async def carry(self) -> None:
        """Let the device fetch what waits, run it and answer."""
        delivery = await self.bench.exchange(Report(polling=True))
        if delivery.commands:
            await self.bench.exchange(self.bench.device.run(delivery))
        await self.bench.work()

    async def result(self, conversation: Conversation, number: int) -> ScriptResult:
        """Return what is known of a script."""
        return await self.desk.script(self.bench.principal, conversation.id, number)

    async def say(self, conversation: Conversation, *script: bytes) -> list[str]:
        """Send a script and return the card's answers."""
        number = await self.store(conversation, *script)
        await self.carry()
        found = await self.result(conversation, number)
        assert found.script.state is ScriptState.ANSWERED
        assert found.answer is not None
        return list(found.answer.responses)

    async def end(self, conversation: Conversation) -> OperationState:
        """End a conversation."""
        _, operation = await self.desk.end(self.bench.principal, conversation.id)
        return operation.state


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(dsn, tmp_path)
    await bench.open()
    await bench.seed()
    operation = await bench.deploy()
    await bench.run(operation.id)
    yield bench
    await bench.close()


@pytest.fixture
def talk(bench: Bench) -> Talk:
    return Talk(bench)


def select(aid: Aid = PURSE) -> bytes:
    return commands.select(aid).to_bytes()


async def test_conversation_when_keys_are_rotated_by_script_then_only_the_new_ones_open_a_session(
    talk: Talk,
) -> None:
    bench = talk.bench
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    first = await talk.begin(target=DOMAIN, purpose="key rotation")
    opened = await talk.say(first, *own.opening(DOMAIN))
    answers = await talk.say(first, *own.rotation(opened[1], NEW, NEW_KVN))
    assert [one[-4:] for one in answers] == ["9000", "9000"]
    own.checked(answers[1:])
    assert await talk.end(first) is OperationState.SUCCEEDED
    assert keys_on(bench.card, DOMAIN, NEW_KVN) == NEW
    assert (await bench.instance()).keys_elsewhere
    second = await talk.begin(target=DOMAIN)
    own = SpTsm(NEW, NEW_KVN)
    opened = await talk.say(second, *own.opening(DOMAIN))
    status = await talk.say(second, *own.wrapped(opened[1], commands.get_status(0x40)))
    assert own.checked(status[1:])[0].sw == 0x9000
    assert await talk.end(second) is OperationState.SUCCEEDED


async def test_instance_when_its_provider_keeps_its_keys_then_what_needs_them_is_refused_and_the_rest_works(
    talk: Talk,
) -> None:
    bench = talk.bench
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    made = await talk.begin()
    opened = await talk.say(made, *own.opening(DOMAIN))
    await talk.say(made, *own.rotation(opened[1], NEW, NEW_KVN))
    await talk.end(made)
    for type_ in (OperationType.ROTATE_KEYS, OperationType.PERSONALIZE):
        with pytest.raises(ConflictError, match="kept by its provider's own TSM"):
            await bench.requests.change(bench.principal, bench.instance_id, type_)
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.TERMINATE):
        operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
        ended = await bench.run(operation.id)
        assert ended.state is OperationState.SUCCEEDED, ended
        assert not any("replace" in line or "prove" in line for line in ended.plan), ended.plan


async def test_conversation_when_it_ended_then_the_next_plan_reads_the_card_first(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    await talk.say(made, select())
    await talk.end(made)
    async with bench.storage.transaction() as tx:
        assert not (await tx.secure_elements.content(bench.se_id)).fresh
    operation = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND)
    ended = await bench.run(operation.id)
    assert ended.state is OperationState.SUCCEEDED
    assert "registry" in ended.plan[0]


async def test_script_when_a_command_fails_then_answers_end_with_it_and_a_new_select_is_needed(
    talk: Talk,
) -> None:
    made = await talk.begin()
    wrong = bytes.fromhex("00CA9F7F00")
    number = await talk.store(made, select(), wrong, get_balance().to_bytes())
    await talk.carry()
    found = await talk.result(made, number)
    assert found.answer is not None
    assert len(found.answer.responses) == 2
    assert found.answer.index == 1
    assert found.answer.responses[1] not in ("9000", "")
    with pytest.raises(ScriptRefusedError, match="nothing of yours is selected"):
        await talk.store(made, get_balance().to_bytes())
    again = await talk.say(made, select(), get_balance().to_bytes())
    assert [one[-4:] for one in again] == ["9000", "9000"]
    # what is selected stays so from script to script
    assert (await talk.say(made, get_balance().to_bytes()))[0][-4:] == "9000"


async def test_script_when_refused_then_nothing_leaves_and_the_command_is_named(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    isd = bench.profiles[bench.profile_name].isd_aid
    refused = (
        (bytes.fromhex("0070000001"), "basic|MANAGE"),
        (select(isd), "not yours"),
        (select(Aid.from_hex("A0000000041010")), "not yours"),
        (bytes.fromhex("00A4040000"), "not yours"),
        (select()[:-2], "command APDU|not yours"),
        (bytes.fromhex("01CA9F7F00"), "basic logical channel"),
        (bytes.fromhex("40CA9F7F00"), "basic logical channel"),
        (bytes.fromhex("00C0000000"), "device's"),
        (bytes.fromhex("0060000000"), "instruction"),
        (bytes.fromhex("00A404"), "command APDU"),
    )
    before = len(bench.device.trace)
    for command, why in refused:
        with pytest.raises(ScriptRefusedError, match=why) as caught:
            await talk.store(made, select(), command)
        assert caught.value.field == "/CommandAPDU/1", command.hex()
    await talk.carry()
    assert len(bench.device.trace) == before


async def test_domain_when_spoken_to_in_the_clear_or_with_the_issuers_version_then_refused(
    talk: Talk,
) -> None:
    made = await talk.begin()
    for command, why in (
        ("80E60C0000", "in the clear"),
        ("80F24000024F0000", "in the clear"),
        (f"8050{0x30:02X}00080001020304050607", "not one of the domain's own"),
    ):
        with pytest.raises(ScriptRefusedError, match=why):
            await talk.store(made, select(DOMAIN), bytes.fromhex(command))


async def test_script_when_it_exceeds_a_limit_then_refused(talk: Talk) -> None:
    made = await talk.begin()
    short = bytes.fromhex("80E20000")
    for script in (
        [],
        [select(), *[short] * 128],
        [select(), *[bytes.fromhex("80E2000000FFFF") + bytes(0xFFFF)]],
        [select(), bytes.fromhex("80CA0000000000")],
    ):
        with pytest.raises(ScriptTooLargeError):
            await talk.store(made, *script)
    with pytest.raises(ScriptTooLargeError):
        await talk.begin(estimated_bytes=32_769)


async def test_compact_script_when_another_than_the_last_asks_for_data_then_refused(talk: Talk) -> None:
    made = await talk.begin(script_format=ScriptFormat.COMPACT)
    chosen = select()[:-1]  # without Le
    with pytest.raises(ScriptRefusedError, match="COMPACT"):
        await talk.store(made, chosen, get_balance().to_bytes(), get_balance().to_bytes())
    answers = await talk.say(made, chosen, get_balance().to_bytes())
    assert answers[1][-4:] == "9000"


async def test_conversation_when_another_is_open_then_waits_and_opens_after_its_end(talk: Talk) -> None:
    first = await talk.begin()
    second = await talk.begin(ready=False)
    with pytest.raises(ConversationWaitingError):
        await talk.store(second, select())
    assert await talk.end(first) is OperationState.SUCCEEDED
    await talk.bench.work()
    assert (await talk.say(second, select()))[0][-4:] == "9000"


async def test_conversation_when_another_waits_and_is_ended_then_it_never_opens(talk: Talk) -> None:
    first = await talk.begin()
    second = await talk.begin(ready=False)
    assert await talk.end(second) is OperationState.CANCELLED
    assert await talk.end(first) is OperationState.SUCCEEDED
    with pytest.raises(ConversationEndedError):
        await talk.store(second, select())
    with pytest.raises(ConversationEndedError):
        await talk.end(first)


async def test_conversation_when_its_time_is_over_then_it_ends_by_itself_and_frees_the_card(
    talk: Talk,
) -> None:
    bench = talk.bench
    made = await talk.begin(time_to_live_s=60)
    waiting = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND)
    await bench.crash()
    bench.world.shift += timedelta(seconds=61)
    with pytest.raises(ConversationEndedError):
        await talk.store(made, select())
    await bench.sweep()
    assert (await bench.run(waiting.id)).state is OperationState.SUCCEEDED
    ended = await bench.operation(made.operation_id)
    assert (ended.state, ended.failure and ended.failure.code) == (OperationState.FAILED, "expired")


@pytest.mark.parametrize("fetched", [False, True], ids=["not-fetched", "fetched"])
async def test_script_when_the_conversations_time_is_over_then_withdrawn_or_unknown(
    talk: Talk, fetched: bool
) -> None:
    bench = talk.bench
    made = await talk.begin(time_to_live_s=60)
    number = await talk.store(made, select())
    delivery = await bench.exchange(Report(polling=True)) if fetched else None
    bench.world.shift += timedelta(seconds=61)
    await bench.sweep()
    await bench.work()
    found = await talk.result(made, number)
    assert found.script.state is (ScriptState.UNKNOWN if fetched else ScriptState.WITHDRAWN)
    assert found.answer is None
    assert (await bench.operation(made.operation_id)).state is OperationState.FAILED
    if delivery is not None:  # an answer that comes too late changes nothing
        await bench.exchange(bench.device.run(delivery))
        await bench.work()
        assert (await talk.result(made, number)).script.state is ScriptState.UNKNOWN


async def test_script_when_its_own_validity_is_over_then_withdrawn_and_the_conversation_goes_on(
    talk: Talk,
) -> None:
    bench = talk.bench
    made = await talk.begin()
    sent = await talk.desk.send_script(
        bench.principal, made.id, (select(),), valid_until=bench.world.now() + timedelta(seconds=5)
    )
    with pytest.raises(ScriptInWorkError):
        await talk.store(made, select())
    bench.world.shift += timedelta(seconds=6)
    await bench.sweep()
    await bench.work()
    assert (await talk.result(made, sent.number)).script.state is ScriptState.EXPIRED
    before = len(bench.device.trace)
    await talk.carry()
    assert len(bench.device.trace) == before
    assert (await talk.say(made, select()))[0][-4:] == "9000"


@pytest.mark.parametrize("at", ["idle", "not-fetched", "fetched"])
async def test_loss_when_reported_then_the_conversation_ends_at_the_next_safe_point(
    talk: Talk, at: str
) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = 0 if at == "idle" else await talk.store(made, select())
    delivery = await bench.exchange(Report(polling=True)) if at == "fetched" else None
    lock = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND, loss=True)
    await bench.work()
    state = (await bench.operation(made.operation_id)).state
    if delivery is not None:
        assert state is OperationState.AWAITING_DEVICE
        await bench.exchange(bench.device.run(delivery))
        await bench.work()
        assert (await talk.result(made, number)).script.state is ScriptState.ANSWERED
    ended = await bench.operation(made.operation_id)
    assert ended.failure is not None
    assert ended.failure.code == "loss_reported"
    with pytest.raises(ConversationEndedError):
        await talk.store(made, select())
    assert (await bench.run(lock.id)).state is OperationState.SUCCEEDED


async def test_script_when_the_card_is_lost_then_what_was_answered_is_told_and_where_it_stopped(
    talk: Talk,
) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = await talk.store(made, select(), get_balance().to_bytes())
    lost_at = bench.device.sent + 2

    def tear(sent: int) -> None:
        if sent == lost_at:
            raise TornError

    bench.device.before = tear
    await talk.carry()
    found = await talk.result(made, number)
    assert found.answer is not None
    assert (len(found.answer.responses), found.answer.index) == (1, 1)
    assert found.answer.stopped is not None


async def test_conversation_when_cancelled_then_it_ends(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    await bench.requests.cancel(bench.principal, made.operation_id)
    await bench.work()
    assert (await bench.operation(made.operation_id)).state is OperationState.CANCELLED


async def test_conversation_when_another_party_names_it_then_there_is_none(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = await talk.store(made, select())
    stranger = replace(bench.principal, tenant_id=bench.issuer)
    for unknown in (made.id, ConversationId(made.id + 1)):
        with pytest.raises(NotFoundError):
            await talk.desk.send_script(stranger, unknown, (select(),))
        with pytest.raises(NotFoundError):
            await talk.desk.end(stranger, unknown)
        with pytest.raises(NotFoundError):
            await talk.desk.script(stranger, unknown, number)
    with pytest.raises(NotFoundError):
        await talk.desk.begin(replace(bench.principal, tenant_id=bench.hub), Opening(se_id=bench.se_id))


async def test_script_when_the_server_dies_at_any_commit_then_the_card_gets_it_once(
    dsn: str, tmp_path: Path
) -> None:
    """Every commit from the script's storing to its answer's, made durable or not."""
    fault = CommitFault()
    bench = Bench(dsn, tmp_path)
    bench.wrap_storage = lambda storage: DyingStorage(storage, fault)
    await bench.open()
    await bench.seed()
    await bench.run((await bench.deploy()).id)
    talk = Talk(bench)
    made = await talk.begin()
    for at, durable in itertools.product(range(1, 8), (False, True)):
        before = len(bench.device.trace)
        fault.at, fault.durable, fault.commits = at, durable, 0
        report = Report(polling=True)
        number = 0
        for _ in range(12):
            try:
                if not number:
                    number = await _sent(talk, made)
                found = await talk.result(made, number)
                if found.script.state is not ScriptState.SENT:
                    break
                delivery = await bench.exchange(report)
                report = bench.device.run(delivery) if delivery.commands else Report(polling=True)
                await bench.work()
            except CrashError:
                await bench.crash()
        fault.at = 0
        assert found.script.state is ScriptState.ANSWERED
        assert found.answer is not None
        assert [one[-4:] for one in found.answer.responses] == ["9000", "9000"]
        assert len(bench.device.trace) == before + 2
    await bench.close()


async def _sent(talk: Talk, made: Conversation) -> int:
    """Send a script, or find the one that was stored before the server died."""
    try:
        return await talk.store(made, select(), get_balance().to_bytes())
    except ScriptInWorkError:
        conversation, _ = await talk.desk.conversation(talk.bench.principal, made.id)
        assert conversation.in_work is not None
        return conversation.in_work


@pytest.mark.parametrize("fetched", [False, True], ids=["not-fetched", "fetched"])
async def test_conversation_when_ended_with_a_script_in_work_then_withdrawn_or_refused(
    talk: Talk, fetched: bool
) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = await talk.store(made, select())
    if not fetched:
        assert await talk.end(made) is OperationState.SUCCEEDED
        assert (await talk.result(made, number)).script.state is ScriptState.WITHDRAWN
        before = len(bench.device.trace)
        await talk.carry()
        assert len(bench.device.trace) == before
        return
    delivery = await bench.exchange(Report(polling=True))
    with pytest.raises(ScriptInWorkError):
        await talk.end(made)
    await bench.exchange(bench.device.run(delivery))
    await bench.work()
    assert await talk.end(made) is OperationState.SUCCEEDED


async def test_conversations_when_two_begin_at_once_then_one_opens_and_the_other_follows(talk: Talk) -> None:
    bench, wanted = talk.bench, Opening(se_id=talk.bench.se_id)
    pairs = await asyncio.gather(*(talk.desk.begin(bench.principal, wanted) for _ in range(2)))
    await bench.work()
    found = [await talk.desk.conversation(bench.principal, made.id) for made, _ in pairs]
    states = sorted(operation.state.value for _, operation in found)
    assert states == ["PREPARING", "QUEUED"]
    (first,) = [made for made, operation in found if operation.state is OperationState.PREPARING]
    (second,) = [made for made, operation in found if operation.state is OperationState.QUEUED]
    assert await talk.end(first) is OperationState.SUCCEEDED
    await bench.work()
    assert (await talk.say(second, select()))[0][-4:] == "9000"


async def test_answers_when_a_device_brings_more_than_a_script_can_then_cut_off(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = await talk.store(made, select(), get_balance().to_bytes())
    delivery = await bench.exchange(Report(polling=True))
    huge = "00" * 66_000 + "9000"
    await bench.exchange(Report(polling=False, responses=("9000", huge), sequence=delivery.sequence))
    await bench.work()
    found = await talk.result(made, number)
    assert found.answer is not None
    assert found.answer.responses == ("9000",)
    assert found.answer.stopped is not None


async def test_result_when_its_time_is_over_then_nobody_finds_it_and_it_is_pruned(talk: Talk) -> None:
    bench = talk.bench
    made = await talk.begin()
    number = await talk.store(made, select())
    await talk.carry()
    await talk.end(made)
    bench.world.shift += timedelta(hours=2)
    with pytest.raises(NotFoundError):
        await talk.result(made, number)
    async with bench.storage.transaction() as tx:
        removed = await tx.retention.prune(Expendable.CONVERSATION_SCRIPTS, bench.world.now(), 100)
        await tx.commit()
        assert removed >= 1
    async with bench.storage.transaction() as tx:
        assert await tx.conversations.script(bench.provider, made.id, number) is None


async def test_lock_when_the_issuer_set_it_then_no_script_of_the_provider_lifts_it(talk: Talk) -> None:
    bench = talk.bench
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    lock = await bench.requests.change(bench.issuer_principal, bench.instance_id, OperationType.SUSPEND)
    assert (await bench.run(lock.id)).state is OperationState.SUCCEEDED
    made = await talk.begin()
    opened = await talk.say(made, *own.opening(DOMAIN))
    with pytest.raises(ScriptRefusedError, match="issuer suspended"):
        await talk.store(made, *own.wrapped(opened[1], commands.unlock(PURSE)))
    # what it locked itself, it may unlock itself
    await talk.end(made)
    free = await bench.requests.change(bench.issuer_principal, bench.instance_id, OperationType.RESUME)
    assert (await bench.run(free.id)).state is OperationState.SUCCEEDED
    made = await talk.begin()
    opened = await talk.say(made, *own.opening(DOMAIN))
    script = own.wrapped(opened[1], commands.lock(PURSE), commands.unlock(PURSE))
    answers = own.checked((await talk.say(made, *script))[1:])
    assert {one.sw for one in answers} == {0x9000}


async def test_conversation_when_the_network_operator_has_limits_then_they_hold(
    talk: Talk, bench: Bench
) -> None:
    bearer = Bearer(kind=BearerKind.DEVICE_AGENT, max_script_bytes=40, max_scripts=1)
    operator = NetworkOperator(
        id=NetworkOperatorId(bench.world.new_id()), name=f"MNO {bench.world.new_id()}", bearers=(bearer,)
    )
    data = SeData(network_operator_id=operator.id)
    async with bench.storage.transaction() as tx:
        await tx.network_operators.add(operator)
        await tx.se_registry.put_data(bench.issuer, [data])
        se = await tx.secure_elements.get(bench.se_id)
        assert se is not None
        await tx.secure_elements.save(replace(se, data=data.digest))
        await tx.commit()
    made = await talk.begin()
    assert (made.limits.scripts, made.limits.script_bytes) == (1, 40)
    with pytest.raises(ScriptTooLargeError, match="40 are allowed"):
        await talk.store(made, select(), bytes.fromhex("00A4040000") * 8)
    assert await talk.say(made, select())
    with pytest.raises(ScriptTooLargeError, match="its 1 scripts"):
        await talk.store(made, select())
