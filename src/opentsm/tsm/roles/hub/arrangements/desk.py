"""Use cases about arrangements: an issuer makes, shows and changes them.

What secure elements refer to changes only where nobody could have relied on it.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from opentsm.card.gp.se_configurations import RELAY_TRUSTED, SeConfiguration
from opentsm.card.gp.se_rights import Rights
from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.arrangement import ArrangedDomain, Arrangement, HandOverGrade, ProviderPlace
from opentsm.tsm.domain.tenant import Principal, Tenant, TenantKind
from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PreconditionFailedError,
)
from opentsm.tsm.kernel.ids import ArrangementId, TenantId
from opentsm.tsm.ports.repositories import Page
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.arrangements.checks import Checker
from opentsm.tsm.roles.hub.mandate import require
from opentsm.tsm.roles.hub.once import Claim, ClaimingStorage

replace = msgspec.structs.replace

MAX_NAME = 100


class NewArrangement(Record, frozen=True, kw_only=True):
    """An arrangement as its issuer describes it; see `domain.arrangement.Arrangement`.

    Without `handover` it has the grade of its configuration.
    """

    name: str
    configuration: int
    domains: tuple[ArrangedDomain, ...]
    place: ProviderPlace | None = None
    places: dict[TenantId, ProviderPlace] = {}
    handover: HandOverGrade | None = None


@dataclass(frozen=True, slots=True)
class ArrangementServices:
    """What these use cases work with."""

    storage: Storage
    world: World
    profiles: Mapping[str, SeProfile]
    configurations: Mapping[int, SeConfiguration]
    rights: Mapping[int, Rights]


class ArrangementDesk:
    """The hub's door for issuers that arrange who holds what on their secure elements."""

    def __init__(self, services: ArrangementServices) -> None:
        self._s = services

    def once(self, claim: Claim) -> "ArrangementDesk":
        """Return the same use cases for one request that has an idempotency key."""
        return ArrangementDesk(dataclasses.replace(self._s, storage=ClaimingStorage(self._s.storage, claim)))

    async def create(self, principal: Principal, new: NewArrangement) -> Arrangement:
        """Make an arrangement.

        Raises:
            ForbiddenError: the caller is not an issuer.
            InvalidInputError: it is not possible on cards of its configuration.
        """
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            draft = self._draft(ArrangementId(self._s.world.new_id()), principal.tenant_id, new)
            arrangement = await self._checked(tx, draft)
            await tx.arrangements.add(arrangement)
            await _audit(tx, arrangement, "arrangement.created")
            await tx.commit()
        return arrangement

    def _draft(self, id_: ArrangementId, issuer_id: TenantId, new: NewArrangement) -> Arrangement:
        handover = new.handover
        if handover is None:
            configuration = self._s.configurations.get(new.configuration)
            handover = HandOverGrade(configuration.handover if configuration else RELAY_TRUSTED)
        return Arrangement(
            id=id_,
            issuer_id=issuer_id,
            name=new.name,
            configuration=new.configuration,
            domains=new.domains,
            place=new.place,
            places=new.places,
            handover=handover,
        )

    async def change(
        self,
        principal: Principal,
        arrangement_id: ArrangementId,
        new: NewArrangement,
        *,
        version: int | None = None,
    ) -> Arrangement:
        """Replace an arrangement; of one that secure elements refer to only the name, and new places.

        Args:
            principal: its issuer.
            arrangement_id: which.
            new: what it is to be.
            version: that of the arrangement which the caller saw; None for whichever there is.

        Raises:
            NotFoundError: there is none of this id.
            InvalidInputError: it is not possible.
            ConflictError: secure elements refer to it, and somebody may rely on what would change.
            PreconditionFailedError: it has another version by now.
        """
        require(principal, TenantKind.SE_ISSUER)
        async with self._s.storage.transaction() as tx:
            known = await _own(tx, principal, arrangement_id)
            if version not in (None, known.version):
                raise PreconditionFailedError
            draft = replace(self._draft(known.id, known.issuer_id, new), version=known.version)
            # saved first: whoever registers a secure element with it meanwhile waits for this transaction
            changed = await tx.arrangements.save(await self._checked(tx, draft))
            if await tx.arrangements.in_use(known.id):
                _check_compatible(known, changed)
            await _audit(tx, changed, "arrangement.changed")
            await tx.commit()
        return changed

    async def arrangement(self, principal: Principal, arrangement_id: ArrangementId) -> Arrangement:
        """Return an arrangement of the caller; the operator may see all.

        Raises:
            NotFoundError: there is none of this id.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            return await _own(tx, principal, arrangement_id)

    async def arrangements(self, principal: Principal, page: Page) -> list[Arrangement]:
        """Return a page of the issuer's arrangements; of all for the operator."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        issuer = None if principal.kind is TenantKind.OPERATOR else principal.tenant_id
        async with self._s.storage.transaction() as tx:
            return list(await tx.arrangements.list(issuer, page))

    async def _checked(self, tx: UnitOfWork, draft: Arrangement) -> Arrangement:
        if not 1 <= len(draft.name) <= MAX_NAME or not draft.name.isprintable():
            raise InvalidInputError(f"A name has 1 to {MAX_NAME} printable characters.", field="/name")
        configuration = self._s.configurations.get(draft.configuration)
        if configuration is None:
            known = ", ".join(map(str, sorted(self._s.configurations)))
            raise InvalidInputError(f"The configurations are {known}.", field="/configuration")
        issuer = await tx.tenants.get(draft.issuer_id)
        if issuer is None:
            raise NotFoundError("There is no such issuer.")
        checker = Checker(
            configuration,
            self._s.rights[draft.configuration],
            self._s.profiles[configuration.profile],
            issuer,
            await _parties(tx, draft),
        )
        return checker.checked(draft)


async def _parties(tx: UnitOfWork, arrangement: Arrangement) -> dict[TenantId, Tenant]:
    named = {domain.holder_id for domain in arrangement.domains} | set(arrangement.places)
    found = [await tx.tenants.get(party) for party in sorted(named)]
    return {tenant.id: tenant for tenant in found if tenant is not None}


async def _own(tx: UnitOfWork, principal: Principal, arrangement_id: ArrangementId) -> Arrangement:
    found = await tx.arrangements.get(arrangement_id)
    if found is None or (
        principal.kind is not TenantKind.OPERATOR and found.issuer_id != principal.tenant_id
    ):
        raise NotFoundError("There is no such arrangement.")
    return found


def _check_compatible(known: Arrangement, changed: Arrangement) -> None:
    """Refuse what contradicts what is on cards: other domains, or another place for a provider that has one.

    Raises:
        ConflictError: it does.
    """
    same = (known.configuration, known.domains, known.place, known.handover) == (
        changed.configuration,
        changed.domains,
        changed.place,
        changed.handover,
    )
    moved = [
        provider
        for provider in {**known.places, **changed.places}
        if known.place_of(provider) not in (None, changed.place_of(provider))
    ]
    if not same or moved:
        raise ConflictError(
            "Secure elements refer to this arrangement: only its name can change, and places be added for"
            " service providers that have none.",
            advice="Make another arrangement.",
        )


async def _audit(tx: UnitOfWork, arrangement: Arrangement, action: str) -> None:
    await tx.audit.append(
        arrangement.issuer_id,
        actor=arrangement.issuer_id,
        action=action,
        subject=arrangement.id,
        details={"configuration": arrangement.configuration, "domains": len(arrangement.domains)},
    )
