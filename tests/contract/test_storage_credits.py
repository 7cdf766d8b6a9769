"""Value transactions: what the storage port says about them."""

import pytest
from msgspec.structs import replace
from tests.contract.storage_records import APPLET, ISD, a_secure_element, new_id

from opentsm.tsm.adapters.storage.postgres import PostgresStorage
from opentsm.tsm.domain.card_content import UNKNOWN, Credit
from opentsm.tsm.kernel.errors import ConflictError, InvariantError

ID = "0011223344556677"


async def a_credit(storage: PostgresStorage, *, instance_id: str = "instance") -> Credit:
    """Return a credit on a secure element of its own, not stored yet."""
    se = a_secure_element()
    async with storage.transaction() as work:
        await work.secure_elements.add(se)
        await work.commit()
    return Credit(
        se_id=se.id, transaction=ID, application=APPLET, amount=1500, outcome=UNKNOWN, instance_id=instance_id
    )


async def put(storage: PostgresStorage, credit: Credit) -> None:
    async with storage.transaction() as work:
        await work.credits.put(credit)
        await work.commit()


async def test_credit_when_put_then_found_by_its_id_with_its_last_outcome(storage: PostgresStorage) -> None:
    credit = await a_credit(storage)
    for outcome in (UNKNOWN, "absent", "applied"):
        await put(storage, replace(credit, outcome=outcome))
    async with storage.transaction() as work:
        assert await work.credits.get(credit.se_id, ID) == replace(credit, outcome="applied")
        assert await work.credits.get(credit.se_id, "00" * 8) is None
        assert await work.credits.get((await a_credit(storage)).se_id, ID) is None


@pytest.mark.parametrize(
    "other", [{"amount": 1501}, {"application": ISD}, {"instance_id": "another"}], ids=lambda o: next(iter(o))
)
async def test_credit_when_its_id_was_used_for_another_then_conflict_and_unchanged(
    storage: PostgresStorage, other: dict[str, object]
) -> None:
    credit = await a_credit(storage)
    await put(storage, credit)
    with pytest.raises(ConflictError):
        await put(storage, replace(credit, outcome="applied", **other))
    async with storage.transaction() as work:
        assert await work.credits.get(credit.se_id, ID) == credit


async def test_credit_when_taken_from_before_instances_were_recorded_then_accepted(
    storage: PostgresStorage,
) -> None:
    credit = await a_credit(storage, instance_id="")
    await put(storage, credit)
    await put(storage, replace(credit, outcome="applied", instance_id=new_id()))
    async with storage.transaction() as work:
        assert await work.credits.get(credit.se_id, ID) == replace(credit, outcome="applied")


async def test_credit_when_the_commit_is_refused_then_a_conflict_cannot_be_overlooked(
    storage: PostgresStorage,
) -> None:
    credit = await a_credit(storage)
    await put(storage, credit)
    async with storage.transaction() as work:
        with pytest.raises(ConflictError):
            await work.credits.put(replace(credit, amount=1))
        with pytest.raises(InvariantError):
            await work.commit()
