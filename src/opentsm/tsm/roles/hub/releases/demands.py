"""What reviewers demand of load files: releases, limits, signatures; and content that they refuse."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from opentsm.card.profiles import SeProfile
from opentsm.tsm.domain.release import KnownBad, ReleasePolicy
from opentsm.tsm.domain.tenant import HUB, Principal, TenantKind
from opentsm.tsm.kernel.errors import InvalidInputError, NotFoundError
from opentsm.tsm.kernel.ids import TenantId
from opentsm.tsm.ports.keystore import Keystore
from opentsm.tsm.ports.unit_of_work import Storage, UnitOfWork
from opentsm.tsm.ports.world import World
from opentsm.tsm.roles.hub.mandate import require

replace = msgspec.structs.replace

MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class ReleaseServices:
    """What these use cases work with; `keystore_of` finds a party's keystore: it signs in its name only."""

    storage: Storage
    world: World
    profiles: Mapping[str, SeProfile]
    keystore_of: Callable[[TenantId], Keystore]


class Demands:
    """Use cases of reviewers about load files in general."""

    def __init__(self, services: ReleaseServices) -> None:
        self._s = services

    async def policy(self, principal: Principal) -> ReleasePolicy:
        """Return what the caller demands of load files."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            return await policy_of(tx, acting_party(principal))

    async def set_policy(self, principal: Principal, policy: ReleasePolicy) -> ReleasePolicy:
        """Set what the caller demands of load files."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        mine = replace(policy, owner_id=acting_party(principal))
        async with self._s.storage.transaction() as tx:
            await tx.releases.put_policy(mine)
            await _audit(tx, principal, "release-policy.set", mine.owner_id)
            await tx.commit()
        return mine

    async def known_bad(self, principal: Principal) -> Sequence[KnownBad]:
        """Return what the caller refuses."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            return await tx.releases.known_bad(acting_party(principal))

    async def add_known_bad(self, principal: Principal, entry: KnownBad) -> KnownBad:
        """Refuse some content from now on; what was released stays until it is withdrawn."""
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        if bool(entry.sha256) == (entry.package is not None):
            raise InvalidInputError("Name a load-file data block (sha256) or a package.", field="/sha256")
        check_text(entry.reason)
        kept = replace(entry, owner_id=acting_party(principal), id=self._s.world.new_id())
        async with self._s.storage.transaction() as tx:
            await tx.releases.add_known_bad(kept)
            await _audit(tx, principal, "known-bad.added", kept.id)
            await tx.commit()
        return kept

    async def remove_known_bad(self, principal: Principal, id_: str) -> None:
        """Refuse some content no longer.

        Raises:
            NotFoundError: there is no such entry of the caller's.
        """
        require(principal, TenantKind.SE_ISSUER, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            if not await tx.releases.remove_known_bad(acting_party(principal), id_):
                raise NotFoundError("There is no such entry.")
            await _audit(tx, principal, "known-bad.removed", id_)
            await tx.commit()

    async def set_rids(self, principal: Principal, party_id: TenantId, rids: Sequence[str]) -> None:
        """Say which application provider identifiers are registered for a party (ISO/IEC 7816-5).

        Raises:
            NotFoundError: there is no such party.
        """
        require(principal, TenantKind.OPERATOR)
        async with self._s.storage.transaction() as tx:
            if await tx.tenants.get(party_id) is None:
                raise NotFoundError("There is no such party.")
            await tx.releases.put_rids(party_id, sorted({one.upper() for one in rids}))
            await _audit(tx, principal, "party.rids-set", party_id)
            await tx.commit()


def acting_party(principal: Principal) -> TenantId:
    """Return the party that a caller acts for; the operator acts for the central TSM."""
    return HUB if principal.kind is TenantKind.OPERATOR else principal.tenant_id


async def policy_of(tx: UnitOfWork, owner_id: TenantId) -> ReleasePolicy:
    """Return what a reviewer demands; one that said nothing demands no releases."""
    return await tx.releases.policy(owner_id) or ReleasePolicy(owner_id=owner_id)


async def _audit(tx: UnitOfWork, principal: Principal, action: str, subject: str) -> None:
    await tx.audit.append(
        principal.tenant_id,
        actor=principal.person or principal.tenant_id,
        action=action,
        subject=subject,
    )


def check_text(text: str) -> None:
    """Refuse a reason that is empty or too long.

    Raises:
        InvalidInputError: it is.
    """
    if not 1 <= len(text.strip()) <= MAX_TEXT:
        raise InvalidInputError(f"A reason has 1 to {MAX_TEXT} characters.", field="/reason")
