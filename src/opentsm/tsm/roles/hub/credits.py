"""Value transactions of the operation in work: taken from their table into a case, and put back with it.

A secure element sees many top-ups in its life; its content knows only the one that is being reconciled.
"""

import msgspec

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import Credit, ObservedContent
from opentsm.tsm.domain.operation import Operation, OperationType
from opentsm.tsm.kernel.ids import SeId
from opentsm.tsm.ports.unit_of_work import UnitOfWork

replace = msgspec.structs.replace


def transaction_of(operation: Operation) -> str | None:
    """Return the transaction id that an operation is about, or None."""
    if operation.type is not OperationType.TOP_UP:
        return None
    return str(operation.parameters["transaction"])


async def find_credit(tx: UnitOfWork, operation: Operation) -> Credit | None:
    """Return what is on record under the operation's transaction id."""
    transaction = transaction_of(operation)
    return None if transaction is None else await tx.credits.get(operation.se_id, transaction)


def with_credit(content: ObservedContent, credit: Credit | None, operation: Operation) -> ObservedContent:
    """Return the content with a credit on record; what the content says itself is newer."""
    if credit is None or credit.transaction in content.transactions:
        return content
    asked = f"{credit.application}/{credit.amount}"
    if credit.instance_id not in ("", str(operation.instance_id)):
        # the application may bear the same AID, the purse is another one
        asked = f"{asked}/{credit.instance_id}"
    return replace(
        content,
        transactions={**content.transactions, credit.transaction: credit.outcome},
        credits={**content.credits, credit.transaction: asked},
    )


async def keep_credits(
    tx: UnitOfWork, content: ObservedContent, known: Credit | None, operation: Operation
) -> ObservedContent:
    """Record what became of value transactions, and return the content without them."""
    for credit in _credits(operation.se_id, content, operation):
        if known is None or (credit.transaction, credit.outcome) != (known.transaction, known.outcome):
            await tx.credits.put(credit)
    return replace(content, transactions={}, credits={})


def _credits(se_id: SeId, content: ObservedContent, operation: Operation) -> list[Credit]:
    found = []
    for transaction, outcome in content.transactions.items():
        application, amount, *_ = content.credits[transaction].split("/")
        own = transaction == transaction_of(operation)
        found.append(
            Credit(
                se_id=se_id,
                transaction=transaction,
                application=Aid.from_hex(application),
                amount=int(amount),
                outcome=outcome,
                instance_id=str(operation.instance_id) if own else "",
            )
        )
    return found
