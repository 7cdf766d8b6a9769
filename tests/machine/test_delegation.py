"""Tokens and receipts in delegated mode: what is issued and refused, and what a stolen token is good for."""

import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.machine.bench import DOMAIN, PURSE, PURSE_PACKAGE
from tests.machine.delegated_bench import DelegatedBench

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.gp import commands as gp
from opentsm.card.gp.content_commands import parse_content_command
from opentsm.card.gp.tokens import split_token
from opentsm.tsm.domain.delegation import ProofKey, ProofScheme, TokenState
from opentsm.tsm.domain.operation import Operation, OperationState, OperationType
from opentsm.tsm.domain.service import InstanceState
from opentsm.tsm.engine.sessions import Plan
from opentsm.tsm.kernel.documents import from_json
from opentsm.tsm.kernel.errors import ConflictError, NotFoundError, QuotaExceededError, TokenRefusedError
from opentsm.tsm.kernel.ids import KeyHandle, OperationId, SeId, TenantId
from opentsm.tsm.ports.delegation import (
    ReceiptAnswer,
    ReceiptRequest,
    TokenAnswer,
    TokenRequest,
)
from opentsm.tsm.ports.repositories import Page

replace = msgspec.structs.replace
SUCCEEDED, FAILED = OperationState.SUCCEEDED, OperationState.FAILED


@pytest.fixture
async def bench(dsn: str, tmp_path: Path) -> AsyncIterator[DelegatedBench]:
    made = DelegatedBench(dsn, tmp_path)
    await made.open()
    yield made
    await made.close()


def hexed(command: CommandApdu) -> str:
    return command.to_bytes().hex().upper()


async def planned_deployment(bench: DelegatedBench) -> Operation:
    """Bring a deployment to where its plan is on record, and nothing of it is on the card."""
    await bench.seed()
    operation = await bench.deploy()
    for _ in range(9):
        operation = await bench.run_once(operation.id)
        if operation.plan_document and from_json(Plan, operation.plan_document).changes_card():
            return operation
    raise AssertionError("no plan")


def request_for(bench: DelegatedBench, operation: Operation, *commands: CommandApdu) -> TokenRequest:
    return TokenRequest(
        request_id=bench.world.new_id(),
        provider_id=bench.provider,
        operation_id=operation.id,
        se_id=bench.se_id,
        security_domain=DOMAIN,
        commands=tuple(hexed(command) for command in commands),
    )


def a_load(bench: DelegatedBench, **changes: Aid | bytes) -> CommandApdu:
    digest = bytes.fromhex(bench.description.load_files[0].sha256)
    wanted = {"elf": PURSE_PACKAGE, "sd": DOMAIN, "hash": digest}
    return gp.install_for_load(**(wanted | changes))  # type: ignore[arg-type]


async def test_tokens_when_issued_bind_each_command_to_one_card_and_are_audited(
    bench: DelegatedBench,
) -> None:
    await bench.seed()
    assert (await bench.run((await bench.deploy()).id)).state is SUCCEEDED
    tokens = await bench.tokens()
    assert [token.meaning for token in tokens] == [
        f"load {PURSE_PACKAGE}", f"install {PURSE}", f"make selectable {PURSE}",
    ]  # fmt: skip
    assert len({token.number for token in tokens}) == 3
    assert [token.counter for token in tokens] == [0, 1, 2]
    issued = await bench.audited("token.issued")
    assert [entry.details["number"] for entry in issued] == [token.number for token in tokens]
    assert {entry.actor for entry in issued} == {bench.provider}
    assert [entry.details["digest"] for entry in issued] == [token.digest for token in tokens]
    verified = await bench.audited("receipt.verified")
    assert [entry.details["counter"] for entry in verified] == [0, 1, 2]


async def test_tokens_when_asked_for_again_are_the_same(bench: DelegatedBench) -> None:
    operation = await planned_deployment(bench)
    request = request_for(bench, operation, a_load(bench))
    first = await bench.desk().issue_tokens(request)
    assert await bench.desk().issue_tokens(request) == first
    command = CommandApdu.parse(bytes.fromhex(first.commands[0]))
    assert len(split_token(command)[1]) == 64
    number = (await bench.tokens())[0].identifier
    assert bytes((0x93, 8)) + number in parse_content_command(command).reference
    with pytest.raises(ConflictError):
        await bench.desk().issue_tokens(replace(request, commands=(hexed(gp.delete(PURSE)),)))


REFUSED = {
    "a foreign load file": lambda b: a_load(b, elf=Aid.from_hex("F04F54534D03")),
    "other content": lambda b: a_load(b, hash=bytes(32)),
    "no hash": lambda b: a_load(b, hash=b""),
    "another domain": lambda b: a_load(b, sd=Aid.from_hex("F04F545344000001")),
    "another application": lambda b: gp.install_for_make_selectable(Aid.from_hex("F04F54534D0301AA")),
    "an extradition": lambda b: gp.install_for_extradition(PURSE, Aid.from_hex("F04F545344000001")),
    "a restriction of the card": lambda b: gp.install_for_registry_update(None),
    "a deletion of what is not there": lambda b: gp.delete(PURSE_PACKAGE),
    "a deletion of the domain": lambda b: gp.delete(DOMAIN),
    "a key": lambda b: gp.delete_key(1, 0x34),
    "a command without token": lambda b: gp.get_data(0xE0),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
async def test_token_when_the_operation_does_not_ask_for_the_command_is_refused(
    bench: DelegatedBench, name: str
) -> None:
    operation = await planned_deployment(bench)
    with pytest.raises(TokenRefusedError):
        await bench.desk().issue_tokens(request_for(bench, operation, a_load(bench), REFUSED[name](bench)))
    assert await bench.tokens() == []
    assert [entry.actor for entry in await bench.audited("token.refused")] == [bench.provider]


async def test_token_when_the_operation_is_anothers_or_of_another_card_is_refused(
    bench: DelegatedBench,
) -> None:
    operation = await planned_deployment(bench)
    request = request_for(bench, operation, a_load(bench))
    for changes in (
        {"provider_id": TenantId("somebody else")},
        {"se_id": SeId("another secure element")},
        {"operation_id": OperationId("no operation")},
        {"security_domain": Aid.from_hex("F04F54534DF0AA")},
    ):
        with pytest.raises(TokenRefusedError):
            await bench.desk().issue_tokens(replace(request, **changes))
    assert await bench.tokens() == []


async def test_token_when_asked_of_a_party_that_does_not_hold_the_key_is_refused(
    bench: DelegatedBench,
) -> None:
    operation = await planned_deployment(bench)
    with pytest.raises(TokenRefusedError):
        await dataclasses.replace(bench.desk(), owner_id=bench.hub).issue_tokens(
            request_for(bench, operation, a_load(bench))
        )


async def test_token_when_the_operation_has_ended_is_refused(bench: DelegatedBench) -> None:
    await bench.seed()
    ended = await bench.run((await bench.deploy()).id)
    with pytest.raises(TokenRefusedError):
        await bench.desk().issue_tokens(request_for(bench, ended, a_load(bench)))


async def test_deployment_when_over_the_quota_is_refused_at_once(bench: DelegatedBench) -> None:
    bench.quota_bytes = 100
    await bench.seed()
    with pytest.raises(QuotaExceededError):
        await bench.deploy()


async def test_deployment_when_over_a_quota_set_meanwhile_fails_with_the_reason_and_loads_nothing(
    bench: DelegatedBench,
) -> None:
    await bench.seed()
    asked = await bench.deploy()
    async with bench.storage.transaction() as tx:
        (known,) = await tx.arrangements.list(bench.issuer, Page(limit=10))
        assert known.place is not None
        smaller = msgspec.structs.replace(known.place, quota_bytes=100)
        await tx.arrangements.save(msgspec.structs.replace(known, place=smaller))
        await tx.commit()
    ended = await bench.run(asked.id)
    assert ended.state is FAILED
    assert ended.failure is not None
    assert (ended.failure.code, "quota" in ended.failure.detail) == ("quota_exceeded", True)
    assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files
    gone = await bench.requests.change(bench.principal, bench.instance_id, OperationType.TERMINATE)
    assert (await bench.run(gone.id)).state is SUCCEEDED
    assert {i.aid for i in bench.card.image().instances} == bench.factory_instances


class Replaying:
    """Gives away the tokens that were made for another card."""

    def __init__(self, answers: list[TokenAnswer]) -> None:
        self._answers = answers

    async def issue_tokens(self, request: TokenRequest) -> TokenAnswer:
        return self._answers[0]

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        return ReceiptAnswer()


class Noting:
    """The issuer's desk; what it answers is noted."""

    def __init__(self, bench: DelegatedBench) -> None:
        self._desk = bench.desk()
        self.answers: list[TokenAnswer] = []

    async def issue_tokens(self, request: TokenRequest) -> TokenAnswer:
        self.answers.append(await self._desk.issue_tokens(request))
        return self.answers[-1]

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        return await self._desk.verify_receipts(request)


async def test_token_when_replayed_on_another_card_is_refused_by_that_card(bench: DelegatedBench) -> None:
    await bench.seed()
    noting = bench.stands_in = Noting(bench)
    assert (await bench.run((await bench.deploy()).id)).state is SUCCEEDED
    bench.stands_in = Replaying(noting.answers)
    await bench.new_card()
    ended = await bench.run((await bench.deploy()).id)
    assert ended.state is FAILED
    assert ended.failure is not None
    assert ended.failure.status_word == "6982"
    assert {f.aid for f in bench.card.image().load_files} == bench.factory_load_files


async def test_receipt_when_made_with_another_key_ends_the_operation_by_name(bench: DelegatedBench) -> None:
    bench.receipt_owner = bench.hub
    right = ProofKey(handle=KeyHandle(f"receipt/{bench.issuer}/AES"), scheme=ProofScheme.AES)
    await bench.ring.of(bench.issuer).make_proof_key(right)
    await bench.seed()
    ended = await bench.run((await bench.deploy()).id)
    assert ended.state is FAILED
    assert ended.failure is not None
    assert ended.failure.code == "receipt_disputed"
    assert {token.state for token in await bench.tokens()} == {TokenState.DISPUTED}
    assert len(await bench.audited("receipt.disputed")) == 3
    assert (await bench.instance()).state is InstanceState.IN_ERROR


async def test_receipt_when_the_card_gives_none_ends_the_operation_by_name(bench: DelegatedBench) -> None:
    bench.card_profile = {"base": "se-700", "name": "silent", "receipts": "never"}
    await bench.seed()
    ended = await bench.run((await bench.deploy()).id)
    assert ended.failure is not None
    assert ended.failure.code == "receipt_disputed"
    assert "no receipt" in ended.failure.detail


class Meddling(Noting):
    """Changes one byte of every receipt on its way."""

    async def verify_receipts(self, request: ReceiptRequest) -> ReceiptAnswer:
        changed = tuple(
            answer and answer[:10] + f"{int(answer[10:12], 16) ^ 1:02X}" + answer[12:]
            for answer in request.answers
        )
        return await super().verify_receipts(replace(request, answers=changed))


async def test_receipt_when_tampered_with_ends_the_operation_by_name(bench: DelegatedBench) -> None:
    await bench.seed()
    bench.stands_in = Meddling(bench)
    ended = await bench.run((await bench.deploy()).id)
    assert ended.failure is not None
    assert ended.failure.code == "receipt_disputed"
    assert {token.state for token in await bench.tokens()} == {TokenState.DISPUTED}


async def test_receipts_when_handed_in_by_somebody_else_are_not_taken(bench: DelegatedBench) -> None:
    operation = await planned_deployment(bench)
    request = request_for(bench, operation, a_load(bench))
    await bench.desk().issue_tokens(request)
    receipts = ReceiptRequest(request_id=request.request_id, provider_id=bench.provider, answers=("6985",))
    for wrong in (replace(receipts, provider_id=TenantId("x")), replace(receipts, request_id="x")):
        with pytest.raises(NotFoundError):
            await bench.desk().verify_receipts(wrong)
    with pytest.raises(ConflictError):
        await bench.desk().verify_receipts(replace(receipts, answers=("6985", "9000")))
    assert await bench.desk().verify_receipts(receipts) == ReceiptAnswer()
    assert [token.state for token in await bench.tokens()] == [TokenState.UNUSED]
    # what was settled stays as it is
    await bench.desk().verify_receipts(replace(receipts, answers=("009000",)))
    assert [token.state for token in await bench.tokens()] == [TokenState.UNUSED]


async def test_issuer_when_it_locks_a_service_needs_neither_provider_nor_token(
    bench: DelegatedBench,
) -> None:
    await bench.seed()
    await bench.run((await bench.deploy()).id)
    before = len(await bench.tokens())
    for type_, state in ((OperationType.SUSPEND, 0x87), (OperationType.RESUME, 0x07)):
        operation = await bench.requests.change(bench.issuer_principal, bench.instance_id, type_)
        ended = await bench.run(operation.id)
        assert ended.state is SUCCEEDED, ended.failure
        assert not any(line.startswith(str(DOMAIN)) for line in ended.plan), ended.plan
        assert {i.state for i in bench.card.image().instances if i.aid == bytes(PURSE)} == {state}
    assert len(await bench.tokens()) == before
