"""A provider's own TSM in delegated mode: it asks for tokens, and hands in the receipts of its commands."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.delegated_bench import DelegatedBench
from tests.machine.sp_tsm import SpTsm, keys_on
from tests.machine.test_conversations import NEW, NEW_KVN, OWN_KVN, Talk

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands as gp
from opentsm.tsm.domain.delegation import TokenState
from opentsm.tsm.domain.operation import OperationState, OperationType
from opentsm.tsm.kernel.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    TokenRefusedError,
)
from opentsm.tsm.ports.delegation import ReceiptAnswer
from opentsm.tsm.roles.hub.delegation.messaging import CommandStatus, DelegatedMessaging, TokensWanted

DELETION, INSTALLATION = gp.delete(PURSE), gp.install_for_make_selectable(PURSE)


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    await made.open()
    await made.seed()
    ended = await made.run((await made.deploy()).id)
    assert ended.state is OperationState.SUCCEEDED
    yield made
    await made.close()


def door(bench: DelegatedBench) -> DelegatedMessaging:
    return DelegatedMessaging(bench.conductor._s)


def wanted(bench: DelegatedBench, *commands: CommandApdu, request_id: str = "call-1") -> TokensWanted:
    return TokensWanted(bench.se_id, request_id, tuple(one.to_bytes() for one in commands))


async def test_own_tsm_when_it_deletes_with_a_token_then_the_card_does_it_and_its_receipt_counts(
    bench: DelegatedBench,
) -> None:
    talk = Talk(bench)
    made = await talk.begin(target=DOMAIN)
    (command,) = await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION))
    own = SpTsm(keys_on(bench.card, DOMAIN, OWN_KVN), OWN_KVN)
    opened = await talk.say(made, *own.opening(DOMAIN))
    raw = await talk.say(made, *own.wrapped(opened[1], CommandApdu.parse(command)))
    (answer,) = own.checked(raw[1:])
    assert answer.sw == 0x9000
    assert bytes(PURSE) not in {one.aid for one in bench.card.image().instances}
    status = CommandStatus(command, answer.to_bytes())
    verified = await door(bench).verify_receipts(bench.principal, bench.se_id, "call-1", [status])
    assert verified == ReceiptAnswer(confirmed=1)
    assert (await bench.tokens())[-1].state is TokenState.CONFIRMED
    # the same receipt for another token proves nothing
    (again,) = await door(bench).generate_tokens(
        bench.principal, wanted(bench, DELETION, request_id="call-2")
    )
    replayed = CommandStatus(again, answer.to_bytes())
    disputed = await door(bench).verify_receipts(bench.principal, bench.se_id, "call-2", [replayed])
    assert len(disputed.disputed) == 1
    await talk.end(made)


async def test_tokens_when_asked_for_twice_under_one_name_are_the_same_and_for_others_refused(
    bench: DelegatedBench,
) -> None:
    await Talk(bench).begin(target=DOMAIN)
    first = await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION))
    assert await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION)) == first
    with pytest.raises(ConflictError):
        await door(bench).generate_tokens(bench.principal, wanted(bench, gp.delete(PURSE_PACKAGE)))


async def test_tokens_when_nothing_of_the_service_is_meant_are_refused(bench: DelegatedBench) -> None:
    await Talk(bench).begin(target=DOMAIN)
    foreign = gp.install_for_load(Aid.from_hex("F04F54534D03"), DOMAIN, hash=bytes(32))
    for command in (
        foreign,
        gp.delete(DOMAIN),
        gp.install_for_extradition(PURSE, Aid.from_hex("F04F5453440000")),
    ):
        with pytest.raises(TokenRefusedError):
            await door(bench).generate_tokens(bench.principal, wanted(bench, command))
    for signed in (b"", b"\x80", gp.delete(PURSE, token=b"1" * 64).to_bytes()):
        with pytest.raises(TokenRefusedError):
            await door(bench).generate_tokens(bench.principal, TokensWanted(bench.se_id, "x", (signed,)))


async def test_tokens_when_there_is_no_conversation_about_the_service_are_refused(
    bench: DelegatedBench,
) -> None:
    with pytest.raises(TokenRefusedError, match="no conversation"):
        await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION))
    with pytest.raises(ForbiddenError):
        await door(bench).generate_tokens(bench.issuer_principal, wanted(bench, DELETION))
    operation = await bench.requests.change(bench.principal, bench.instance_id, OperationType.SUSPEND)
    await bench.work()
    with pytest.raises(TokenRefusedError, match="no conversation"):
        await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION))
    await bench.run(operation.id)


async def test_receipts_when_of_another_request_or_no_command_are_refused(bench: DelegatedBench) -> None:
    await Talk(bench).begin(target=DOMAIN)
    (command,) = await door(bench).generate_tokens(bench.principal, wanted(bench, DELETION))
    desk, lost = door(bench), CommandStatus(command, b"")
    with pytest.raises(NotFoundError):
        await desk.verify_receipts(bench.principal, bench.se_id, "call-9", [lost])
    for other in (DELETION.to_bytes(), b"\x00"):
        with pytest.raises(InvalidInputError):
            await desk.verify_receipts(bench.principal, bench.se_id, "call-1", [CommandStatus(other, b"")])
    with pytest.raises(ForbiddenError):
        await desk.verify_receipts(bench.issuer_principal, bench.se_id, "call-1", [lost])
    assert await desk.verify_receipts(bench.principal, bench.se_id, "call-1", []) == ReceiptAnswer()
    found = await desk.verify_receipts(bench.principal, bench.se_id, "call-1", [lost])
    assert found == ReceiptAnswer(unanswered=1)


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
