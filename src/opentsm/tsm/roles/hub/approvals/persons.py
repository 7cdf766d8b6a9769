"""The people of a party: whose token a request came with, and whether there is anybody else to decide."""

from opentsm.tsm.domain.approval import Signer, canonical_person, same_person
from opentsm.tsm.domain.tenant import Principal
from opentsm.tsm.kernel.errors import ConflictError, ForbiddenError, InvalidInputError
from opentsm.tsm.ports.unit_of_work import UnitOfWork

MAX_PERSON = 100
_ENOUGH = 200
_HOW = (
    "The operator names a person when it issues a token: POST /v1/parties/{party_id}/tokens with `person`;"
    " the operator's own people are named on its machine: `opentsm operator-token NAME`."
)


class NoSecondPersonError(ConflictError):
    """The party has nobody else who could decide."""

    code = "no_second_person"


def signer_of(principal: Principal) -> Signer:
    """Return whose token a request came with.

    Raises:
        ForbiddenError: it names nobody.
    """
    if not principal.person:
        raise ForbiddenError("This needs the long-term token of a named person.", advice=_HOW)
    return Signer(person=principal.person, token=principal.token)


async def require_another(tx: UnitOfWork, principal: Principal) -> None:
    """Check that somebody else of the party could decide.

    Raises:
        NoSecondPersonError: nobody else has a token.
    """
    persons = await tx.tenants.persons(principal.tenant_id, _ENOUGH)
    if all(same_person(one, principal.person) for one in persons):
        raise NoSecondPersonError(
            "Two people of the party are needed for this, and only one has a token.", advice=_HOW
        )


def checked_person(name: str) -> str:
    """Return a person's name as it is kept.

    Raises:
        InvalidInputError: it is empty, too long or not printable.
    """
    kept = canonical_person(name)
    if not 1 <= len(kept) <= MAX_PERSON or not kept.isprintable():
        raise InvalidInputError(f"person must have 1 to {MAX_PERSON} printable characters.", field="/person")
    return kept
