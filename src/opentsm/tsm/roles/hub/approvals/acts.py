"""What an act that needs two people must offer: a check when it is asked for, and its carrying out."""

from collections.abc import Mapping
from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.approval import Act, Approval
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.unit_of_work import UnitOfWork

# what must be made before the transaction of a decision: signatures, by the domain that verifies them
Prepared = Mapping[Aid, bytes]
NOTHING: Prepared = {}


class Asked(Record, frozen=True, kw_only=True):
    """An act as it is asked for: about what, and how."""

    act: Act
    subject: str
    parameters: dict[str, str | int] = {}


class Performer(Protocol):
    """Checks and carries out acts of some kinds."""

    async def check(self, tx: UnitOfWork, principal: Principal, asked: Asked) -> Asked:
        """Return the act with its parameters in full, if the party may have it and it is possible now.

        Raises:
            CallerError: it may not, or it is not possible.
        """
        ...

    async def prepare(self, approval: Approval) -> Prepared:
        """Return what keystores must make before the transaction of a decision: none is called in it."""
        ...

    async def carry_out(
        self, tx: UnitOfWork, principal: Principal, approval: Approval, prepared: Prepared
    ) -> dict[str, str]:
        """Carry out an approved act in the transaction of the decision, and name what came of it.

        Raises:
            CallerError: it is not possible any more; the decision is not taken.
        """
        ...

    async def concerned(self, tx: UnitOfWork, subject: str) -> TenantId | None:
        """Return the other party whose property is acted upon, and whose audit says so; None: nobody's."""
        ...
