"""Value transactions: one row each, found by secure element and transaction id."""

from opentsm.card.codec.aid import Aid
from opentsm.tsm.adapters.storage.session import Session
from opentsm.tsm.adapters.storage.sql import load_queries
from opentsm.tsm.domain.card_content import Credit
from opentsm.tsm.kernel.errors import ConflictError
from opentsm.tsm.kernel.ids import SeId

_SQL = load_queries("credits")


class PostgresCredits:
    """Credits that were asked for, and what became of them."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def get(self, se_id: SeId, transaction: str) -> Credit | None:
        """Return the credit of a transaction id, or None."""
        row = await self._session.row(_SQL["get"], se_id, transaction)
        if row is None:
            return None
        return Credit(
            se_id=row["se_id"],
            transaction=row["transaction_id"],
            application=Aid.from_hex(row["application"]),
            amount=row["amount"],
            outcome=row["outcome"],
            instance_id=row["instance_id"],
        )

    async def put(self, credit: Credit) -> None:
        """Record a credit or its outcome; raise ConflictError when the id was used for another credit."""
        kept = await self._session.change(
            _SQL["put"],
            credit.se_id,
            credit.transaction,
            credit.instance_id,
            str(credit.application),
            credit.amount,
            credit.outcome,
        )
        if not kept:
            raise self._session.spoiled(
                ConflictError(f"The transaction id {credit.transaction} was used for another credit.")
            )
