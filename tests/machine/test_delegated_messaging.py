"""A provider's own TSM in delegated mode: it asks for tokens, and hands in the receipts of its commands."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.delegated_bench import DelegatedBench
from tests.machine.sp_tsm import SpTsm, keys_on
from tests.machine.test_conversations import NEW, NEW_KVN, OWN_KVN, Talk

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands as gp
from opentsm.card.gp.install_params import application_parameters
from opentsm.card.gp.privileges import Privilege
from opentsm.tsm.domain.conversation import Conversation
from opentsm.tsm.domain.delegation import TokenState
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.engine import activation
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, TokenRefusedError
from opentsm.tsm.ports.delegation import ReceiptAnswer
from opentsm.tsm.roles.hub.conversations.tokens import DelegatedTokens

DELETION = gp.delete(PURSE)


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    ended = await made.run((await made.deploy()).id)
    assert ended.state is OperationState.SUCCEEDED
    yield made
    await made.close()


def hexed(command: CommandApdu) -> str:
    return command.to_bytes().hex().upper()


class Door:
    """The hub's door for tokens, for one conversation about the provider's service."""

    def __init__(self, bench: DelegatedBench, conversation: Conversation) -> None:
        self._bench, self._conversation = bench, conversation
        self._tokens = DelegatedTokens(bench.conductor._s)

    async def issue(self, *commands: str, call: str = "call-1") -> Sequence[str]:
        return await self._tokens.issue(self._bench.principal, self._conversation.id, call, commands)

    async def verify(self, *answers: str, call: str = "call-1") -> ReceiptAnswer:
        return await self._tokens.verify(self._bench.principal, self._conversation.id, call, answers)


async def test_own_tsm_when_it_deletes_with_a_token_then_the_card_does_it_and_its_receipt_counts(
    bench: DelegatedBench,
) -> None:
    talk = Talk(bench)
    made = await talk.begin(target=DOMAIN)
    door = Door(bench, made)
    (command,) = await door.issue(hexed(DELETION))
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    opened = await talk.say(made, *own.opening(DOMAIN))
    raw = await talk.say(made, *own.wrapped(opened[1], CommandApdu.parse(bytes.fromhex(command))))
    (answer,) = own.checked(raw[1:])
    assert answer.sw == 0x9000
    assert bytes(PURSE) not in {one.aid for one in bench.card.image().instances}
    receipt = answer.to_bytes().hex()
    assert await door.verify(receipt) == ReceiptAnswer(confirmed=1)
    assert (await bench.tokens())[-1].state is TokenState.CONFIRMED
    # the same receipt for another token proves nothing
    await door.issue(hexed(DELETION), call="call-2")
    assert len((await door.verify(receipt, call="call-2")).disputed) == 1
    await talk.end(made)


async def test_own_tsm_when_it_installs_with_a_token_then_what_it_installs_is_its_instances(
    bench: DelegatedBench,
) -> None:
    talk = Talk(bench)
    made = await talk.begin(target=DOMAIN)
    (app,) = bench.description.applications
    system = activation.system_parameters(app, bench.profiles["se-700"])
    again = gp.install_for_install(
        app.load_file,
        app.module,
        app.instance_aid,
        Privilege(0),
        application_parameters(system=system),
        make_selectable=True,
    )
    commands = await Door(bench, made).issue(hexed(DELETION), hexed(again))
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    opened = await talk.say(made, *own.opening(DOMAIN))
    plain = [CommandApdu.parse(bytes.fromhex(one)) for one in commands]
    raw = await talk.say(made, *own.wrapped(opened[1], *plain))
    answers = own.checked(raw[1:])
    assert [one.sw for one in answers] == [0x9000, 0x9000]
    found = await Door(bench, made).verify(*(one.to_bytes().hex() for one in answers))
    assert found == ReceiptAnswer(confirmed=2)
    await talk.end(made)
    operation = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    assert (await bench.run(operation.id)).state is OperationState.SUCCEEDED
    assert {one.aid for one in bench.card.image().instances} == bench.factory_instances


async def test_tokens_when_asked_for_twice_under_one_name_are_the_same_and_for_others_refused(
    bench: DelegatedBench,
) -> None:
    door = Door(bench, await Talk(bench).begin(target=DOMAIN))
    first = await door.issue(hexed(DELETION))
    assert await door.issue(hexed(DELETION)) == first
    with pytest.raises(ConflictError):
        await door.issue(hexed(gp.delete(PURSE_PACKAGE)))


async def test_tokens_when_nothing_of_the_service_is_meant_are_refused(bench: DelegatedBench) -> None:
    door = Door(bench, await Talk(bench).begin(target=DOMAIN))
    foreign = gp.install_for_load(Aid.from_hex("F04F54534D03"), DOMAIN, hash=bytes(32))
    moved = gp.install_for_extradition(PURSE, Aid.from_hex("F04F5453440000"))
    signed = gp.delete(PURSE, token=b"1" * 64)
    for command in (foreign, moved, signed, gp.delete(DOMAIN)):
        with pytest.raises(TokenRefusedError):
            await door.issue(hexed(command))
    for malformed in ("", "80", "no hex"):
        with pytest.raises(TokenRefusedError):
            await door.issue(malformed)


async def test_receipts_when_of_another_request_or_too_many_are_refused(bench: DelegatedBench) -> None:
    door = Door(bench, await Talk(bench).begin(target=DOMAIN))
    await door.issue(hexed(DELETION))
    with pytest.raises(NotFoundError):
        await door.verify("6985", call="call-9")
    with pytest.raises(ConflictError):
        await door.verify("6985", "6985")
    assert await door.verify("") == ReceiptAnswer(unanswered=1)


async def test_instance_when_its_provider_keeps_its_keys_then_the_manager_locks_and_removes_it(
    bench: DelegatedBench,
) -> None:
    talk = Talk(bench)
    made = await talk.begin(target=DOMAIN)
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    opened = await talk.say(made, *own.opening(DOMAIN))
    await talk.say(made, *own.rotation(opened[1], NEW, NEW_KVN))
    await talk.end(made)
    for type_ in (OperationType.SUSPEND, OperationType.RESUME, OperationType.TERMINATE):
        operation = await bench.requests.change(bench.principal, bench.instance_id, type_)
        ended = await bench.run(operation.id)
        assert ended.state is OperationState.SUCCEEDED, ended
        assert not any("token" in line for line in ended.plan), ended.plan
    assert {one.aid for one in bench.card.image().instances} == bench.factory_instances
