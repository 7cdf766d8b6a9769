"""Memory on secure elements: what a provider may use of it, and what operations have reserved.

All sizes are bytes. GPCS 2.3.1 §9.7.
"""

from opentsm.tsm.kernel.documents import Record
from opentsm.tsm.kernel.ids import ArrangementId, InstanceId, OperationId, SeId, SpaceQuotaId, TenantId


class SpaceLimits(Record, frozen=True, kw_only=True):
    """Most bytes of a kind: on one secure element, and in one security domain; None: all there is."""

    nonvolatile: int | None = None
    volatile: int | None = None
    domain_nonvolatile: int | None = None
    domain_volatile: int | None = None

    def lower(self, other: "SpaceLimits") -> "SpaceLimits":
        """Return the stricter of two sets of limits, kind by kind."""
        return SpaceLimits(**{name: _lower(getattr(self, name), getattr(other, name)) for name in _KINDS})


_KINDS = ("nonvolatile", "volatile", "domain_nonvolatile", "domain_volatile")


def _lower(one: int | None, other: int | None) -> int | None:
    return min((value for value in (one, other) if value is not None), default=None)


class SpaceQuota(Record, frozen=True, kw_only=True):
    """What a party that manages secure elements grants a provider on each of them.

    `setter_id` is the issuer, or the central TSM for what it manages. `provider_id` None: every provider that
    has no quota of its own. It is for one card profile or for one arrangement.
    """

    id: SpaceQuotaId
    setter_id: TenantId
    provider_id: TenantId | None = None
    profile: str = ""
    arrangement_id: ArrangementId | None = None
    limits: SpaceLimits
    version: int = 0

    @property
    def target(self) -> str:
        """Return what it is for, as one text."""
        return target_of(self.profile, self.arrangement_id)


def target_of(profile: str, arrangement_id: ArrangementId | None) -> str:
    """Return a card profile or an arrangement as one text; an arrangement goes before."""
    return f"profile:{profile}" if arrangement_id is None else f"arrangement:{arrangement_id}"


class SpaceNeeds(Record, frozen=True, kw_only=True):
    """Bytes of either kind."""

    nonvolatile: int = 0
    volatile: int = 0

    def plus(self, other: "SpaceNeeds") -> "SpaceNeeds":
        """Return the sum."""
        return SpaceNeeds(
            nonvolatile=self.nonvolatile + other.nonvolatile, volatile=self.volatile + other.volatile
        )


class SizedPart(Record, frozen=True, kw_only=True):
    """A part as an operation expected it: its key, its bytes, and what the card profile says of it."""

    key: str
    size: int
    nominal: int


class Reservation(Record, frozen=True, kw_only=True):
    """What one operation may take of a secure element beyond what it frees there.

    `parts` is what it was estimated from, `freed` the bytes that it deletes first. `free_before` is the
    card's free memory before its first change, None until then.
    """

    operation_id: OperationId
    se_id: SeId
    provider_id: TenantId
    instance_id: InstanceId
    needs: SpaceNeeds
    parts: tuple[SizedPart, ...] = ()
    freed: int = 0
    free_before: int | None = None
